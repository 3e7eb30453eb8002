"""The fleet's answers with a day of 10,000 vehicles in place: 28.8 million readings, laid out as a fleet's readings arrive."""

import asyncio
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from statistics import quantiles
from typing import Final

import asyncpg
import httpx

from deploy.stack.processes import Processes
from sql.analytics.efficiency import Thresholds
from sql.analytics.fault_state import Hysteresis
from sql.maintenance.fleet_evaluation import evaluate_fleet
from sql.maintenance.rollups import refresh_rollups
from sql.maintenance.scheduler import FREQUENT_SESSION
from tests.bench.ground import Ground, Result, with_medians
from tests.bench.query import ASSIGN, FILL
from tests.support.database import Database
from tests.support.ledger import Topics
from tests.support.services import read_service, service_environment

DAY: Final = timedelta(hours=24)
MINUTES: Final = 1440
VEHICLES: Final = 10_000
READINGS: Final = 2 * VEHICLES * MINUTES
ASKED: Final = 200  # requests of each kind in each run
KNOWN: Final = (
    "INSERT INTO meter_live_status SELECT 'METER-' || n, 1, 240, $1, now() FROM generate_series(1, $2::integer) AS n",
    "INSERT INTO vehicle_live_status SELECT 'VEH-' || n, 50, 1, 25, $1, now() FROM generate_series(1, $2::integer) AS n",
)
LIMITS: Final = Thresholds(fault_below=85, degraded_below=90, min_energy_kwh=1, min_coverage=0.8, max_reading_gap=0.02)
RULES: Final = Hysteresis(open_after=5, close_after=5, close_from=87)


def measure(ground: Ground) -> Iterator[Result]:
    """The evaluation of all vehicles, and p99 of the routes over HTTP, one request at a time."""
    with ground.database() as database:
        end = datetime.now(UTC).replace(second=0, microsecond=0)
        yield asyncio.run(_prepare(ground, database, end))
        yield from with_medians(_runs(ground, database, end))


async def _prepare(ground: Ground, database: Database, end: datetime) -> Result:
    """Fill the day; then roll it up, which is the first figure."""
    connection = await asyncpg.connect(database.migrator_url, server_settings=FREQUENT_SESSION)
    try:
        for hour in range(24):
            opens = end - DAY + timedelta(hours=hour)
            for statement in FILL.values():
                await connection.execute(statement, opens, opens + timedelta(minutes=59), VEHICLES)
            if hour % 4 == 3:
                ground.say(f"{(hour + 1) * 60 * 2 * VEHICLES:,} of {READINGS:,} readings in place")
        for statement in KNOWN:
            await connection.execute(statement, end, VEHICLES)
        await connection.execute(ASSIGN, VEHICLES)
        await connection.execute("VACUUM ANALYZE")
        began = time.perf_counter()
        await refresh_rollups(connection, end, grace=timedelta(minutes=10))
        taken = time.perf_counter() - began
        hours = await connection.fetchval("SELECT count(*) FROM meter_energy_hourly") / VEHICLES
    finally:
        await connection.close()
    ground.say(f"{hours:.0f} hours of all devices rolled up in {taken:.1f} s")
    return Result(measure="rollup_an_hour", value=round(taken / hours, 3), unit="s", details={"hours": hours})


def _runs(ground: Ground, database: Database, end: datetime) -> Iterator[Result]:
    environment = service_environment(ground.stack, database, Topics("none", "none", 1))
    with Processes() as processes, read_service(processes, environment, ground.directory) as client:
        for run in range(1, ground.runs + 1):
            yield asyncio.run(_evaluate(ground, database, end, run))
            dice = Random(run)
            yield _ask(ground, "performance_1", run, _performances(client, dice, 1, end))
            yield _ask(ground, "performance_100", run, _performances(client, dice, 100, end))
            yield _ask(ground, "fleet_summary", run, _get(client, "/v1/fleet/summary", "vehicles", VEHICLES))
            yield _ask(ground, "fleet_ranking", run, _get(client, "/v1/fleet/ranking?limit=50", "total", VEHICLES))
            address = f"/v1/fleet/summary?end={(end - timedelta(minutes=run)).isoformat().replace('+', '%2B')}"
            yield _ask(ground, "fleet_summary_at", run, _get(client, address, "vehicles", VEHICLES), asked=5)


async def _evaluate(ground: Ground, database: Database, end: datetime, run: int) -> Result:
    connection = await asyncpg.connect(database.migrator_url, server_settings=FREQUENT_SESSION)
    try:
        began = time.perf_counter()
        evaluated = await evaluate_fleet(connection, end + timedelta(minutes=run), LIMITS, RULES)
        taken = time.perf_counter() - began
    finally:
        await connection.close()
    _check(evaluated == VEHICLES, f"{evaluated} vehicles were judged")
    ground.say(f"evaluation, run {run}: {taken:.2f} s")
    return Result(measure="evaluation", value=round(taken, 3), unit="s", run=run)


def _performances(client: httpx.Client, dice: Random, number: int, end: datetime) -> Callable[[], None]:
    def ask() -> None:
        ids = [f"VEH-{each}" for each in dice.sample(range(1, VEHICLES + 1), number)]
        answer = client.get("/v1/analytics/performance", params={"vehicleId": ids, "end": end.isoformat()}).json()
        _check([each["vehicleId"] for each in answer["items"]] == ids, "other vehicles than asked")
        _check({each["dataPoints"] for each in answer["items"]} == {MINUTES}, "not every reading was counted")

    return ask


def _get(client: httpx.Client, address: str, name: str, expected: int) -> Callable[[], None]:
    def ask() -> None:
        answer = client.get(address)
        _check(answer.status_code == httpx.codes.OK and answer.json()[name] == expected, answer.text[:300])

    return ask


def _ask(ground: Ground, measure: str, run: int, ask: Callable[[], None], asked: int = ASKED) -> Result:
    taken = []
    for _ in range(asked):
        began = time.perf_counter()
        ask()
        taken.append(time.perf_counter() - began)
    cut = quantiles(taken, n=100, method="inclusive")
    p50, p99 = cut[49] * 1000, cut[98] * 1000
    ground.say(f"{measure}, run {run}: p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    return Result(measure=f"{measure}_p99", value=round(p99, 3), unit="ms", run=run, details={"p50_ms": round(p50, 3)})


def _check(right: bool, what: str) -> None:
    if not right:
        raise RuntimeError(f"the answer is wrong: {what}")
