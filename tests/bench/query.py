"""How long the 24-hour query takes with ten million readings in place, laid out as a fleet's readings arrive."""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from statistics import quantiles
from typing import Final

import asyncpg
import httpx

from deploy.stack.processes import Processes
from sql.connection import READER_SETTINGS
from sql.queries import queries
from tests.bench.ground import Ground, Result, with_medians
from tests.support.database import Database
from tests.support.ledger import Topics
from tests.support.services import read_service, service_environment

DAY: Final = timedelta(hours=24)
MINUTES: Final = 1440
VEHICLES: Final = 3_473
READINGS: Final = 2 * VEHICLES * MINUTES
ASKED: Final = 2_000  # in each run
# Minute by minute: a vehicle's 1,440 readings lie on as many pages, as they do after a day of live ingestion.
FILL: Final = {
    "meter": """
INSERT INTO meter_telemetry_history (meter_id, recorded_at, kwh_consumed_ac, voltage)
SELECT 'METER-' || device, minute + (device * 17 % 60000) * interval '1 ms', random() * 2, 235 + random() * 10
FROM generate_series($1::timestamptz, $2, '1 minute') AS minute, generate_series(1, $3::integer) AS device""",
    "vehicle": """
INSERT INTO vehicle_telemetry_history (vehicle_id, recorded_at, kwh_delivered_dc, soc, battery_temp)
SELECT 'VEH-' || device, minute + (device * 17 % 60000) * interval '1 ms', random() * 2, random() * 100, 20 + random() * 10
FROM generate_series($1::timestamptz, $2, '1 minute') AS minute, generate_series(1, $3::integer) AS device""",
}
ASSIGN: Final = """
INSERT INTO vehicle_meter_assignments
SELECT 'VEH-' || device, 'METER-' || device, '[2020-01-01,)', 'bench' FROM generate_series(1, $1::integer) AS device"""


def measure(ground: Ground) -> Iterator[Result]:
    """p50 and p99 of the query itself, and of the whole answer over HTTP, one at a time, for vehicles drawn at random."""
    with ground.database() as database:
        end = datetime.now(UTC).replace(second=0, microsecond=0)
        asyncio.run(_fill(ground, database, end))
        yield from with_medians(_runs(ground, database, end))


async def _fill(ground: Ground, database: Database, end: datetime) -> None:
    connection = await asyncpg.connect(database.migrator_url)
    try:
        for hour in range(24):
            opens = end - DAY + timedelta(hours=hour)
            for statement in FILL.values():
                await connection.execute(statement, opens, opens + timedelta(minutes=59), VEHICLES)
            if hour % 6 == 5:
                ground.say(f"{(hour + 1) * 60 * 2 * VEHICLES:,} of {READINGS:,} readings in place")
        await connection.execute(ASSIGN, VEHICLES)
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()


def _runs(ground: Ground, database: Database, end: datetime) -> Iterator[Result]:
    environment = service_environment(ground.stack, database, Topics("none", "none", 1))
    with Processes() as processes, read_service(processes, environment, ground.directory) as client:
        for run in range(1, ground.runs + 1):
            vehicles = [f"VEH-{Random(run * ASKED + each).randint(1, VEHICLES)}" for each in range(ASKED)]
            yield _result(ground, "query", run, asyncio.run(_ask_database(database, vehicles, end)))
            yield _result(ground, "query_http", run, _ask_service(client, vehicles, end))


async def _ask_database(database: Database, vehicles: list[str], end: datetime) -> list[float]:
    connection = await asyncpg.connect(database.reader_url, server_settings=READER_SETTINGS)
    taken = []
    try:
        for vehicle in vehicles:
            began = time.perf_counter()
            rows = queries.energy_of(connection, vehicle_ids=[vehicle], opens=[end - DAY], closes=[end])
            (found,) = [row async for row in rows]
            taken.append(time.perf_counter() - began)
            _check(found["dc_points"] == found["ac_points"] == MINUTES, vehicle)
    finally:
        await connection.close()
    return taken


def _ask_service(client: httpx.Client, vehicles: list[str], end: datetime) -> list[float]:
    taken = []
    for vehicle in vehicles:
        began = time.perf_counter()
        answer = client.get(f"/v1/analytics/performance/{vehicle}", params={"end": end.isoformat()})
        taken.append(time.perf_counter() - began)
        _check(answer.status_code == 200 and answer.json()["dataPoints"] == MINUTES, vehicle)
    return taken


def _check(right: bool, vehicle: str) -> None:
    if not right:
        raise RuntimeError(f"the answer for {vehicle} is wrong")


def _result(ground: Ground, measure: str, run: int, taken: list[float]) -> Result:
    cut = quantiles(taken, n=100)
    p50, p99 = cut[49] * 1000, cut[98] * 1000
    ground.say(f"{measure}, run {run}: p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    details = {"p50_ms": round(p50, 3), "slowest_ms": round(max(taken) * 1000, 3)}
    return Result(measure=f"{measure}_p99", value=round(p99, 3), unit="ms", run=run, details=details)
