"""Three cells behind one read service, beside the same vehicles in one database and beside PostgreSQL's own federation.

fill one database and three cells with the same vehicles -> pages of the ranking and single vehicles from each
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg
import httpx

from deploy.stack.processes import Processes
from tests.bench.instruments.latency import latency_result, measure_latency, require
from tests.bench.instruments.results import Result, with_medians
from tests.bench.setup.harness import Harness
from tests.support.database import Database
from tests.support.database_rows import update_fleet_totals
from tests.support.ledger import Topics
from tests.support.services import read_service, service_environment

CELLS: Final = 3
VEHICLES: Final = 150_000
REQUESTS: Final = 200
FEDERATED_REQUESTS: Final = 20
PAGE: Final = 50
LOWEST, HIGHEST = 70.0, 98.0  # efficiencies (%) after which a page begins; fill.sql draws them from 70 to 99
SQL: Final = Path(__file__).parent


def measure(harness: Harness) -> Iterator[Result]:
    """p99 of a page of the ranking and of a vehicle's performance: from three cells, from one database, federated."""
    vehicles = harness.scaled(VEHICLES, minimum=1_000)
    with ExitStack() as exits:
        one, *cells = [exits.enter_context(harness.empty_database()) for _ in range(1 + CELLS)]
        asyncio.run(_fill(one, vehicles, 1, 0))
        for number, cell in enumerate(cells):
            asyncio.run(_fill(cell, vehicles, CELLS, number))
        harness.log_progress(f"{vehicles:,} vehicles inserted twice")
        face = exits.enter_context(harness.empty_database())
        require(harness.stack.postgres is not None, "a foreign server needs the superuser of a PostgreSQL of our own")
        superuser_url = harness.stack.postgres.url("postgres", face.name)  # type: ignore[union-attr]
        asyncio.run(_federate(superuser_url, cells))
        yield from with_medians(_runs(harness, vehicles, one, cells, superuser_url))


def _runs(
    harness: Harness, vehicles: int, one: Database, cells: Sequence[Database], superuser_url: str
) -> Iterator[Result]:
    listed = " ".join(f"cell{number}={cell.reader_url}" for number, cell in enumerate(cells))
    settings = {"DATABASE_CELLS": listed, "DATABASE_READ_URL": "", "INGESTION_ENABLED": "false"}
    for run in range(1, harness.runs + 1):
        dice = Random(run)
        for name, environment in {"cells": settings, "one_database": {}}.items():
            with _service(harness, one, environment) as client:
                yield measure_latency(harness, f"{name}_ranking", run, partial(_page, client), REQUESTS)
                yield measure_latency(
                    harness, f"{name}_vehicle", run, partial(_vehicle, client, dice, vehicles), REQUESTS
                )
        yield asyncio.run(_federated(harness, run, superuser_url, dice))


async def _fill(database: Database, vehicles: int, divisor: int, remainder: int) -> None:
    await database.fetch((SQL / "fill.sql").read_text(), vehicles, divisor, remainder)
    await database.execute("VACUUM ANALYZE")
    await update_fleet_totals(database)


@contextmanager
def _service(harness: Harness, database: Database, settings: dict[str, str]) -> Iterator[httpx.Client]:
    environment = service_environment(harness.stack, database, Topics("none", "none", 1)) | settings
    with Processes() as processes, read_service(processes, environment, harness.new_directory("cells")) as client:
        yield client


def _page(client: httpx.Client) -> None:
    page = _body(client, "/v1/fleet/ranking", {"limit": PAGE})
    require(len(page["items"]) == PAGE, str(page)[:300])


def _vehicle(client: httpx.Client, dice: Random, vehicles: int) -> None:
    vehicle = f"VEH-{dice.randint(1, vehicles)}"
    require(_body(client, f"/v1/analytics/performance/{vehicle}", {})["vehicleId"] == vehicle, vehicle)


def _body(client: httpx.Client, path: str, parameters: dict[str, Any]) -> Any:
    response = client.get(path, params=parameters)
    require(response.status_code == httpx.codes.OK, response.text[:300])
    return response.json()


async def _federated(harness: Harness, run: int, superuser_url: str, dice: Random) -> Result:
    """The page alone, without HTTP, in a database that reads the cells over postgres_fdw."""
    connection = await asyncpg.connect(superuser_url)
    query, seconds = (SQL / "federated_ranking.sql").read_text(), []
    try:
        for _ in range(FEDERATED_REQUESTS):
            started = time.perf_counter()
            rows = await connection.fetch(query, dice.uniform(LOWEST, HIGHEST))
            seconds.append(time.perf_counter() - started)
            require(len(rows) == PAGE + 1, str(rows)[:300])
    finally:
        await connection.close()
    return latency_result(harness, "federated_ranking", run, seconds)


async def _federate(superuser_url: str, cells: Sequence[Database]) -> None:
    connection = await asyncpg.connect(superuser_url)
    try:
        for number, cell in enumerate(cells):
            url = urlsplit(cell.reader_url)
            login = {"host": url.hostname, "port": url.port, "user": url.username, "password": url.password}
            template = (SQL / "federate.sql").read_text()
            await connection.execute(template.format(cell=f"cell{number}", database=cell.name, **login))
    finally:
        await connection.close()
