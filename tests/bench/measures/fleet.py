"""Evaluation and HTTP responses for a fleet of 10,000 vehicles with a day of readings stored: 28.8 million."""

import asyncio
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from random import Random
from typing import Final

import httpx
from pydantic import SecretStr

from deploy.stack.processes import Processes
from sql.analytics.efficiency import Thresholds
from sql.analytics.fault_state import Hysteresis
from sql.connection import connect
from sql.maintenance.fleet_evaluation import evaluate_fleet
from sql.maintenance.rollups import refresh_rollups
from sql.maintenance.scheduler import FREQUENT_SESSION
from tests.bench.instruments.latency import measure_latency, require
from tests.bench.instruments.results import Result, with_medians
from tests.bench.setup.harness import Harness
from tests.bench.setup.stored_day import MINUTES, ROLLUP_GRACE, current_minute, insert_day
from tests.support.database import Database
from tests.support.ledger import Topics
from tests.support.services import read_service, service_environment

VEHICLES: Final = 10_000
REQUESTS: Final = 200  # of each route in each run
LIMITS: Final = Thresholds(fault_below=85, degraded_below=90, min_energy_kwh=1, min_coverage=0.8, max_reading_gap=0.02)
RULES: Final = Hysteresis(open_after=5, close_after=5, close_from=87)


def measure(harness: Harness) -> Iterator[Result]:
    """Time of a rollup, of the evaluation of all vehicles, and p99 of the routes over HTTP, one request at a time."""
    with harness.empty_database() as database:
        end = current_minute()
        yield asyncio.run(_fill_and_roll_up(harness, database, end))
        yield from with_medians(_runs(harness, database, end))


async def _fill_and_roll_up(harness: Harness, database: Database, end: datetime) -> Result:
    """Store the day and roll it up; the time of the rollup is the first result."""
    connection = await connect(SecretStr(database.migrator_url), server_settings=FREQUENT_SESSION)
    try:
        await insert_day(harness, connection, VEHICLES, end)
        started = time.perf_counter()
        await refresh_rollups(connection, end, grace=ROLLUP_GRACE)
        seconds = time.perf_counter() - started
        hours = await connection.fetchval("SELECT count(*) FROM meter_energy_hourly") / VEHICLES
    finally:
        await connection.close()
    harness.log_progress(f"{hours:.0f} hours of all devices rolled up in {seconds:.1f} s")
    return Result(measure="rollup_an_hour", value=round(seconds / hours, 3), unit="s", details={"hours": hours})


def _runs(harness: Harness, database: Database, end: datetime) -> Iterator[Result]:
    environment = service_environment(harness.stack, database, Topics("none", "none", 1))
    with Processes() as processes, read_service(processes, environment, harness.directory) as client:
        for run in range(1, harness.runs + 1):
            yield asyncio.run(_evaluate(harness, database, end, run))
            dice = Random(run)
            earlier = (end - timedelta(minutes=run)).isoformat().replace("+", "%2B")
            routes = {
                "performance_1": _performance_of(client, dice, 1, end),
                "performance_100": _performance_of(client, dice, 100, end),
                "fleet_summary": _get(client, "/v1/fleet/summary", "vehicles"),
                "fleet_ranking": _get(client, "/v1/fleet/ranking?limit=50", "total"),
            }
            for name, request in routes.items():
                yield measure_latency(harness, name, run, request, REQUESTS)
            at_earlier = _get(client, f"/v1/fleet/summary?end={earlier}", "vehicles")
            yield measure_latency(harness, "fleet_summary_at", run, at_earlier, 5)


async def _evaluate(harness: Harness, database: Database, end: datetime, run: int) -> Result:
    connection = await connect(SecretStr(database.migrator_url), server_settings=FREQUENT_SESSION)
    try:
        started = time.perf_counter()
        evaluated = await evaluate_fleet(connection, end + timedelta(minutes=run), LIMITS, RULES)
        seconds = time.perf_counter() - started
    finally:
        await connection.close()
    require(evaluated == VEHICLES, f"{evaluated} vehicles were evaluated")
    harness.log_progress(f"evaluation, run {run}: {seconds:.2f} s")
    return Result(measure="evaluation", value=round(seconds, 3), unit="s", run=run)


def _performance_of(client: httpx.Client, dice: Random, vehicles: int, end: datetime) -> Callable[[], None]:
    """A request for the performance of vehicles that are drawn at random each time it is sent."""

    def request() -> None:
        ids = [f"VEH-{each}" for each in dice.sample(range(1, VEHICLES + 1), vehicles)]
        answer = client.get("/v1/analytics/performance", params={"vehicleId": ids, "end": end.isoformat()}).json()
        require([each["vehicleId"] for each in answer["items"]] == ids, "the vehicles are not the requested ones")
        require({each["dataPoints"] for each in answer["items"]} == {MINUTES}, "not every reading was counted")

    return request


def _get(client: httpx.Client, address: str, field: str) -> Callable[[], None]:
    """A request whose answer must have the number of all vehicles in `field`."""

    def request() -> None:
        answer = client.get(address)
        require(answer.status_code == httpx.codes.OK and answer.json()[field] == VEHICLES, answer.text[:300])

    return request
