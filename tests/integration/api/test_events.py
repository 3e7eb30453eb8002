"""Server-sent events: initial and later events, newer readings, a database outage, the end of a stream."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from deploy.stack.processes import Processes
from deploy.stack.servers import Servers
from tests.support.database import Database
from tests.support.database_rows import insert_evaluation
from tests.support.records import minute, vehicle
from tests.support.responses import StartApi, body, problem
from tests.support.waiting import until

pytestmark = pytest.mark.anyio
TIMEOUT_SECONDS = 30


class Stream:
    """The events of an open stream; `ended` once the server has closed it without an error."""

    def __init__(self, answer: httpx.Response) -> None:
        self._lines = answer.aiter_lines()
        self.ended = False

    async def fields(self) -> dict[str, str]:
        """The fields of the next event; empty when the stream has ended."""
        found: dict[str, str] = {}
        async with asyncio.timeout(TIMEOUT_SECONDS):
            async for line in self._lines:
                if not line and found:
                    return found
                name, _, value = line.partition(": ")
                if name:
                    found[name] = value
        self.ended = True
        return found

    async def next(self, *, but: str = "") -> tuple[str, Any]:
        """Name and data of the next event, skipping events named `but`."""
        while found := await self.fields():
            if "event" in found and found["event"] != but:
                return found["event"], json.loads(found["data"])
        raise AssertionError("the stream has ended")


@asynccontextmanager
async def streaming(client: httpx.Client, **parameters: str) -> AsyncIterator[Stream]:
    async with (
        httpx.AsyncClient(base_url=client.base_url, timeout=TIMEOUT_SECONDS) as to,
        to.stream("GET", "/v1/stream", params=parameters) as answer,
    ):
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-cache"
        stream = Stream(answer)
        assert await stream.fields() == {"retry": "2000"}
        yield stream


async def test_the_summary_is_sent_at_once_and_then_regularly(start_api: StartApi, database: Database) -> None:
    await insert_evaluation(database, "VEH-1", datetime.now(UTC))
    client = start_api()
    async with streaming(client) as stream:
        event, first = await stream.next()
        assert event == "fleet"
        assert first["vehicles"] == 1
        assert first == body(client.get("/v1/fleet/summary")) | {"live": first["live"]}
        await insert_evaluation(database, "VEH-2", datetime.now(UTC))
        began = asyncio.get_running_loop().time()
        event, second = await stream.next()
        assert (event, second["vehicles"]) == ("fleet", 2)
        assert asyncio.get_running_loop().time() - began < 10


async def test_a_watched_vehicle_is_sent_at_once_and_with_every_newer_reading(start_api: StartApi, write: Any) -> None:
    await write(vehicle=[vehicle("VEH-1", minute(5), soc=50)])
    client = start_api()
    async with streaming(client, vehicleId="VEH-1") as stream, streaming(client, vehicleId="VEH-2") as other:
        event, shown = await stream.next(but="fleet")
        assert (event, shown) == ("vehicle", body(client.get("/v1/vehicles/VEH-1")))
        await write(vehicle=[vehicle("VEH-1", minute(4), soc=40), vehicle("VEH-3", minute(9))])
        assert (await stream.next())[0] == "fleet"
        assert (await stream.next())[0] == "fleet", "neither an older reading is sent nor one of another vehicle"
        await write(vehicle=[vehicle("VEH-1", minute(6), soc=60), vehicle("VEH-2", minute(1), soc=20)])
        event, shown = await stream.next(but="fleet")
        assert (event, shown["soc"], shown["recordedAt"][:16]) == ("vehicle", 60, minute(6).isoformat()[:16])
        event, shown = await other.next(but="fleet")
        assert (event, shown["vehicleId"], shown["soc"]) == ("vehicle", "VEH-2", 20)


async def test_the_summary_has_the_reading_rate(start_api: StartApi, write: Any) -> None:
    client = start_api()
    async with streaming(client) as stream:
        assert (await stream.next())[1]["live"]["readingsPerSecond"] is None
        await write(vehicle=[vehicle("VEH-1", minute(each)) for each in range(60)])

        async def some() -> float | None:
            speed: float | None = (await stream.next())[1]["live"]["readingsPerSecond"]
            return speed

        assert 0 < (await until(some, "a reading rate", every=0) or 0) <= 60


async def test_a_database_outage_is_reported_once_and_the_stream_continues_after_it(
    start_api: StartApi, database: Database, stack: Servers
) -> None:
    async with streaming(start_api()) as stream:
        assert (await stream.next())[0] == "fleet"
        async with database_outage(database, stack):
            event, said = await stream.next(but="fleet")
            assert (event, list(said)) == ("unavailable", ["detail"])
        assert (await stream.next())[0] == "fleet"


@asynccontextmanager
async def database_outage(database: Database, stack: Servers) -> AsyncIterator[None]:
    """Terminates the sessions of the service and rejects new ones."""
    owner, reader = [await asyncpg.connect(url) for url in (stack.database_url, stack.reader_url)]
    try:
        await owner.execute(f"ALTER DATABASE {database.name} ALLOW_CONNECTIONS false")
        await reader.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND usename = current_user",
            database.name,
        )
        yield
    finally:
        await owner.execute(f"ALTER DATABASE {database.name} ALLOW_CONNECTIONS true")
        for each in (owner, reader):
            await each.close()


async def test_the_database_is_not_polled_without_subscribers(start_api: StartApi, database: Database) -> None:
    client = start_api()
    async with streaming(client) as one, streaming(client) as two:
        assert (await one.next())[0] == (await two.next())[0] == "fleet"
    newest = "SELECT max(query_start) FROM pg_stat_activity WHERE application_name = 'energy-api' AND datname = $1"

    async def quiet() -> bool:
        last, now = (await database.fetch(f"SELECT ({newest}), clock_timestamp()", database.name))[0]
        return bool(now - last > timedelta(seconds=5))

    await until(quiet, "five seconds without a query from a service that polls every second")
    async with streaming(client) as stream:
        assert (await stream.next())[0] == "fleet"


async def test_streams_end_at_once_and_without_an_error_when_the_service_stops(
    start_api: StartApi, processes: Processes, write: Any
) -> None:
    await write(vehicle=[vehicle("VEH-1")])
    client = start_api()
    async with streaming(client) as one, streaming(client, vehicleId="VEH-1") as two:
        for stream in (one, two):
            assert (await stream.next())[0] in {"fleet", "vehicle"}
        began = asyncio.get_running_loop().time()
        service, _ = processes._children[-1]
        assert await asyncio.to_thread(processes.stop, service) == 0
        for stream in (one, two):
            while await stream.fields():
                continue
            assert stream.ended
        assert asyncio.get_running_loop().time() - began < 5


async def test_an_invalid_vehicle_id_cannot_be_watched(start_api: StartApi) -> None:
    refused = problem(start_api().get("/v1/stream", params={"vehicleId": "a b"}), 422)
    assert refused["errors"][0]["field"] == "vehicleId"
