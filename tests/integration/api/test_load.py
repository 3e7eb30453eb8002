"""Expensive requests: what many clients ask for is computed once, and what nobody waits for any more is ended."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.support.database import Database, locked_tables
from tests.support.database_rows import insert_assignment
from tests.support.records import vehicle
from tests.support.responses import StartApi, body
from tests.support.waiting import until

pytestmark = pytest.mark.anyio
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
ROUTES = (
    "/v1/fleet/summary?end={end}",
    "/v1/analytics/performance?vehicleId=VEH-001&end={end}",
    "/v1/analytics/trend/VEH-001?end={end}",
    "/v1/vehicles/VEH-001/history?resolution=hour&to={end}",
)


async def statements(database: Database) -> int:
    """Statements of the read service that wait for a lock."""
    found: int = await database.value(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND application_name = 'energy-api' "
        "AND wait_event_type = 'Lock'",
        database.name,
    )
    return found


async def ask_and_leave(client: httpx.Client, path: str, left: asyncio.Event) -> None:
    """Sends a request over a connection of its own, and disconnects when told to."""
    _, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
    await writer.drain()
    await left.wait()
    writer.close()


@pytest.mark.parametrize("route", ROUTES)
async def test_requests_of_clients_that_left_do_not_run_on(
    start_api: StartApi, write: Any, database: Database, route: str
) -> None:
    await write(vehicle=[vehicle()])
    await insert_assignment(database, "VEH-001", "METER-001")
    client = start_api()
    left = asyncio.Event()
    async with locked_tables(database, "rollup_state", mode="ACCESS EXCLUSIVE"):
        paths = [route.format(end=f"{TODAY - timedelta(seconds=number):%Y-%m-%dT%H:%M:%SZ}") for number in range(200)]
        asking = [asyncio.create_task(ask_and_leave(client, path, left)) for path in paths]

        async def some_run() -> bool:
            return await statements(database) > 0

        async def none_runs() -> bool:
            return await statements(database) == 0

        await until(some_run, "statements run")
        left.set()
        await asyncio.gather(*asking)
        # Each statement would take 5 s, its time limit: all together, two or twenty at a time, 50 s or more.
        await until(none_runs, "no statement runs any more", timeout=25)
    assert body(await asyncio.to_thread(client.get, paths[0]))


async def test_clients_that_ask_for_the_same_window_share_one_evaluation(
    start_api: StartApi, write: Any, database: Database
) -> None:
    await write(vehicle=[vehicle()])
    client = start_api()
    async with httpx.AsyncClient(base_url=client.base_url, timeout=60) as asks:
        async with locked_tables(database, "vehicle_live_status", mode="ACCESS EXCLUSIVE"):
            path = f"/v1/fleet/summary?end={TODAY:%Y-%m-%dT%H:%M:%SZ}"
            asking = [asyncio.create_task(asks.get(path)) for _ in range(60)]

            async def one_runs() -> bool:
                return await statements(database) > 0

            await until(one_runs, "a statement runs")
            assert await statements(database) == 1
        answers = await asyncio.gather(*asking)
    assert {answer.status_code for answer in answers} == {200}, answers[0].text
    assert {answer.headers["data-source"] for answer in answers} == {"replica"}
    assert len({answer.text for answer in answers}) <= 2, (
        "requests that arrived after the first result have a second one"
    )
