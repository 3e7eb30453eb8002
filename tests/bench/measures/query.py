"""Latency of the 24-hour query with ten million stored readings, in the database and over HTTP."""

import asyncio
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from random import Random
from typing import Final

import asyncpg
import httpx

from deploy.stack.processes import Processes
from sql.connection import READER_SETTINGS
from sql.queries import queries
from tests.bench.instruments.latency import latency_result, measure_latency, require
from tests.bench.instruments.results import Result, with_medians
from tests.bench.setup.harness import Harness
from tests.bench.setup.stored_day import DAY, MINUTES, current_minute, insert_day
from tests.support.database import Database
from tests.support.ledger import Topics
from tests.support.services import read_service, service_environment

VEHICLES: Final = 3_473
QUERIES: Final = 2_000  # in each run


def measure(harness: Harness) -> Iterator[Result]:
    """p50 and p99 of the query itself and of the HTTP response, one at a time, for vehicles drawn at random."""
    with harness.empty_database() as database:
        end = current_minute()
        asyncio.run(_fill(harness, database, end))
        yield from with_medians(_runs(harness, database, end))


async def _fill(harness: Harness, database: Database, end: datetime) -> None:
    connection = await asyncpg.connect(database.migrator_url)
    try:
        await insert_day(harness, connection, VEHICLES, end, live_status=False)
    finally:
        await connection.close()


def _runs(harness: Harness, database: Database, end: datetime) -> Iterator[Result]:
    environment = service_environment(harness.stack, database, Topics("none", "none", 1))
    with Processes() as processes, read_service(processes, environment, harness.directory) as client:
        for run in range(1, harness.runs + 1):
            vehicles = [f"VEH-{Random(run * QUERIES + each).randint(1, VEHICLES)}" for each in range(QUERIES)]
            yield latency_result(harness, "query", run, asyncio.run(_query_database(database, vehicles, end)))
            yield measure_latency(harness, "query_http", run, _request(client, Random(run), end), QUERIES)


async def _query_database(database: Database, vehicles: list[str], end: datetime) -> list[float]:
    connection = await asyncpg.connect(database.reader_url, server_settings=READER_SETTINGS)
    seconds = []
    try:
        for vehicle in vehicles:
            started = time.perf_counter()
            found = queries.energy_of(connection, vehicle_ids=[vehicle], opens=[end - DAY], closes=[end])
            (row,) = [row async for row in found]
            seconds.append(time.perf_counter() - started)
            require(row["dc_points"] == row["ac_points"] == MINUTES, vehicle)
    finally:
        await connection.close()
    return seconds


def _request(client: httpx.Client, dice: Random, end: datetime) -> Callable[[], None]:
    """A request for the 24 hours of a vehicle that is drawn at random each time it is sent."""

    def request() -> None:
        vehicle = f"VEH-{dice.randint(1, VEHICLES)}"
        response = client.get(f"/v1/analytics/performance/{vehicle}", params={"end": end.isoformat()})
        require(response.status_code == 200 and response.json()["dataPoints"] == MINUTES, response.text[:300])

    return request
