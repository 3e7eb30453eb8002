"""The simulation's model of PostgreSQL against a real one: the same scripts, the same outcomes."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from random import Random
from typing import Any

import asyncpg
import pytest

from sql.connection import WRITER_SETTINGS
from tests.simulation.database.client import Backend, Connection, Link
from tests.simulation.database.scripts import SCRIPTS, Script
from tests.simulation.database.server import Server, Transaction
from tests.simulation.event_loop import ProcessLoop, Scheduler
from tests.support.database import Database
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


async def _on_postgres(script: Script, database: Database) -> list[Any]:
    async with AsyncExitStack() as exits:

        async def connect() -> Any:
            connection = await asyncpg.connect(database.migrator_url, server_settings=WRITER_SETTINGS)
            exits.callback(connection.terminate)
            return connection

        async def blocked(connection: Any) -> None:
            pid = connection.get_server_pid()

            async def waits() -> bool:
                return bool(await database.value("SELECT cardinality(pg_blocking_pids($1)) > 0", pid))

            await until(waits, "the session waits for a lock")

        return await script(connect, blocked)


def _on_model(script: Script) -> list[Any]:
    scheduler, rng = Scheduler(Random(1)), Random(2)
    server = Server(scheduler, rng, _accept)
    loop = ProcessLoop(scheduler, _fail)

    async def connect() -> Any:
        backend = Backend(Link(server, loop, "energy-consumer", rng))
        await backend.connect()
        return Connection(backend)

    async def blocked(connection: Any) -> None:

        while not server.blocking(connection.get_server_pid()):  # noqa: ASYNC110 - in virtual time
            await asyncio.sleep(0.01)

    task = loop.create_task(script(connect, blocked))
    task.add_done_callback(lambda _: scheduler.stop())
    scheduler.run(until=60.0)
    outcome: list[Any] = task.result()
    return outcome


def _accept(transaction: Transaction) -> None:
    """Every transaction may commit."""


def _fail(context: dict[str, Any]) -> None:
    raise AssertionError(context)


@pytest.mark.parametrize("script", SCRIPTS, ids=[script.__name__ for script in SCRIPTS])
async def test_the_model_does_what_postgresql_does(script: Script, database: Database) -> None:
    real = await _on_postgres(script, database)
    assert model_outcome(script) == real


def model_outcome(script: Script) -> list[Any]:
    """The outcome on the model, in a thread: it has an event loop of its own."""

    with ThreadPoolExecutor(1) as threads:
        return threads.submit(_on_model, script).result()
