"""Maintenance of a fleet of a million devices, and the requests of the page."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from random import Random
from typing import Any, Final

import httpx
from pydantic import SecretStr

from deploy.stack.processes import Processes
from sql.connection import connect
from sql.doctor.checks import SESSION, examine
from sql.maintenance.scheduler import FREQUENT_SESSION, TASKS
from sql.settings import DoctorSettings
from tests.bench.instruments.cpu_time import CpuTime
from tests.bench.instruments.latency import measure_latency, require
from tests.bench.instruments.results import Result
from tests.bench.setup.harness import Harness
from tests.bench.setup.large_fleet import HOUR, MINUTE, LargeFleet, insert_minute
from tests.support.database import Database
from tests.support.ledger import Topics
from tests.support.services import read_service, service_environment

REQUESTS: Final = 200  # of each kind in each run
PAGES: Final = 4  # of a ranking that are read one after the other
ROWS: Final = 50
SORTS: Final = ("efficiency", "energyAc", "energyDc", "temperature", "vehicleId")
STATUSES: Final = (None, "healthy", "degraded", "faulty", "insufficient_data")
EVALUATED: Final = "SELECT count(*) FROM vehicle_efficiency"
COMPLETE_BEFORE: Final = "SELECT complete_before FROM rollup_state"


def measure_maintenance(harness: Harness, fleet: LargeFleet) -> Iterator[Result]:
    """Partitions, an hour rolled up, the first judgement, then in each run that of the next minute; the doctor at the end."""
    yield _measure_task(harness, fleet, "partitions", "million_partitions")
    yield _measure_task(harness, fleet, "rollups", "million_rollup")
    rolled_up = asyncio.run(fleet.database.value(COMPLETE_BEFORE))
    require(rolled_up == fleet.hour + HOUR, f"hours are rolled up to {rolled_up}")
    yield _measure_task(harness, fleet, "evaluation", "million_first_judged")
    for run in range(1, harness.runs + 1):
        asyncio.run(_next_minute(fleet, run))
        yield _measure_task(harness, fleet, "evaluation", "million_judged", run, minutes=run)
        evaluated = asyncio.run(fleet.database.value(EVALUATED))
        require(evaluated == fleet.vehicles, f"{evaluated} vehicles were evaluated")
    yield asyncio.run(_measure_doctor(harness, fleet))


def measure_queries(harness: Harness, fleet: LargeFleet) -> Iterator[Result]:
    """p99 of the requests of the page over HTTP, one at a time."""
    environment = service_environment(harness.stack, fleet.database, Topics("none", "none", 1))
    with Processes() as processes, read_service(processes, environment, harness.directory) as client:
        for run in range(1, harness.runs + 1):
            dice = Random(run)
            requests = {
                "million_summary": _summary(client, fleet.vehicles),
                "million_ranking": _rankings(client, dice),
                "million_search": _search(client, dice, fleet.vehicles),
                "million_vehicles": _vehicles(client, dice, fleet.vehicles),
            }
            for name, request in requests.items():
                yield measure_latency(harness, name, run, request, REQUESTS)


def _measure_task(
    harness: Harness, fleet: LargeFleet, task: str, measure: str, run: int = 1, *, minutes: int = 0
) -> Result:
    """The time of a task of maintenance, so many minutes after the hour is due to be rolled up."""
    return asyncio.run(_timed(harness, measure, run, fleet, partial(_run_task, fleet, task, minutes)))


async def _next_minute(fleet: LargeFleet, run: int) -> None:
    """What happens before the evaluation of a minute: its readings are stored, and the watermark of rollups moves."""
    async with _session(fleet.database, FREQUENT_SESSION) as connection:
        await insert_minute(connection, fleet.now + (run - 1) * MINUTE, fleet.vehicles)
    await _run_task(fleet, "rollups", run)


async def _run_task(fleet: LargeFleet, task: str, minutes: int) -> None:
    """Run a task of maintenance, so many minutes after the hour is due to be rolled up."""
    settings = DoctorSettings(database_url=SecretStr(fleet.database.migrator_url))
    async with _session(fleet.database, FREQUENT_SESSION) as connection:
        await TASKS[task](connection, fleet.now + minutes * MINUTE, settings)


async def _measure_doctor(harness: Harness, fleet: LargeFleet) -> Result:
    async def work() -> None:
        settings = DoctorSettings(database_url=SecretStr(fleet.database.migrator_url))
        async with _session(fleet.database, SESSION) as connection:
            findings = await examine(connection, settings, count_rows=False)
        timed_out = [each.what for each in findings if "timed out" in each.what]
        require(not timed_out, f"checks timed out: {timed_out}")

    return await _timed(harness, "million_doctor", 1, fleet, work)


async def _timed(
    harness: Harness, measure: str, run: int, fleet: LargeFleet, work: Callable[[], Awaitable[None]]
) -> Result:
    """Seconds of some work, with the CPU seconds of this process and of PostgreSQL."""
    cpu, own_cpu, started = CpuTime.now(harness.stack, []), time.process_time(), time.perf_counter()
    await work()
    seconds = time.perf_counter() - started
    spent = CpuTime.now(harness.stack, []).per_record(cpu, 1e6)
    harness.log_progress(f"{measure}, run {run}: {seconds:.2f} s")
    details = {"devices": float(2 * fleet.vehicles), "maintenance_cpu_seconds": round(time.process_time() - own_cpu, 3)}
    if "postgres_cpu_us_per_record" in spent:
        details["postgres_cpu_seconds"] = spent["postgres_cpu_us_per_record"]
    return Result(measure=f"{measure}_seconds", value=round(seconds, 3), unit="s", run=run, details=details)


@asynccontextmanager
async def _session(database: Database, settings: dict[str, str]) -> Any:
    connection = await connect(SecretStr(database.migrator_url), server_settings=settings)
    try:
        yield connection
    finally:
        await connection.close()


def _summary(client: httpx.Client, vehicles: int) -> Callable[[], None]:
    def request() -> None:
        summary = _body(client, "/v1/fleet/summary", {})
        require(summary["vehicles"] == summary["live"]["vehicles"] == vehicles, str(summary)[:300])

    return request


def _rankings(client: httpx.Client, dice: Random) -> Callable[[], None]:
    """The first pages of rankings whose order and status are drawn at random, page after page."""
    remaining: list[dict[str, Any]] = []

    def request() -> None:
        if not remaining:
            drawn = {"sort": dice.choice(SORTS), "order": dice.choice(("asc", "desc")), "status": dice.choice(STATUSES)}
            remaining.extend({**drawn, "limit": ROWS} for _ in range(PAGES))
        page = _body(client, "/v1/fleet/ranking", remaining.pop())
        require(len(page["items"]) == min(ROWS, page["total"]) or page["next"] is None, str(page)[:300])
        if page["next"] is None:
            remaining.clear()
        for each in remaining:
            each["after"] = page["next"]

    return request


def _search(client: httpx.Client, dice: Random, vehicles: int) -> Callable[[], None]:
    """Searches for a part of an id: with and without its letters, whole or without its last digit."""

    def request() -> None:
        vehicle = f"{dice.choice(('VEH-', 'veh-', ''))}{dice.randint(1, vehicles)}"
        found = _body(client, "/v1/fleet/ranking", {"search": vehicle[: dice.choice((None, -1))], "limit": ROWS})
        require(bool(found["items"]), f"{vehicle} was not found")

    return request


def _vehicles(client: httpx.Client, dice: Random, vehicles: int) -> Callable[[], None]:
    def request() -> None:
        _body(client, "/v1/vehicles", {"after": f"VEH-{dice.randint(1, vehicles)}", "limit": ROWS})

    return request


def _body(client: httpx.Client, address: str, parameters: dict[str, Any]) -> dict[str, Any]:
    response = client.get(address, params={name: value for name, value in parameters.items() if value is not None})
    require(response.status_code == httpx.codes.OK, response.text[:300])
    body: dict[str, Any] = response.json()
    return body
