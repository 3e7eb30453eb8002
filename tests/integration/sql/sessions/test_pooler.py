"""PgBouncer in transaction mode: the read service works through it, and every other process says that it cannot."""

import asyncio
from collections.abc import Iterator
from typing import Any

import asyncpg
import httpx
import pytest
from pydantic import SecretStr

from api.database.transaction_pool import TransactionPool
from deploy.stack.processes import Processes
from sql.connection import READER_SETTINGS, SESSION, WRITER_SETTINGS, connect, pooler_pool
from tests.integration.sql.sessions.pgbouncer import (
    NO_PGBOUNCER,
    PGBOUNCER,
    SERVER_CONNECTIONS,
    PgBouncer,
    modes,
    pgbouncer,
)
from tests.integration.sql.sessions.test_settings import INHERITED, set_for_the_database, settings_of
from tests.support.command import Command
from tests.support.database import Database
from tests.support.ledger import Topics
from tests.support.records import vehicle
from tests.support.responses import StartApi, body, problem
from tests.support.services import ConsumerGroup
from tests.support.waiting import until

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(PGBOUNCER is None, reason=NO_PGBOUNCER)]
MODES = pytest.mark.parametrize("mode", modes())
VEHICLES = {f"VEH-{number:02}": number for number in range(1, 11)}  # id -> state of charge
POOLER = "the URL leads to a connection pooler"


@pytest.fixture
def pooler(processes: Processes, database: Database) -> Iterator[PgBouncer]:
    with pgbouncer(processes, database) as running:
        yield running


@MODES
async def test_the_read_service_answers_through_a_pooler_that_its_sessions_share(
    write: Any, database: Database, pooler: PgBouncer, start_api: StartApi, mode: str
) -> None:
    await write(vehicle=[vehicle(name, soc=soc) for name, soc in VEHICLES.items()])
    through = pooler.url(
        database.reader_url
    )  # also as the URL of a replica, so that the checks of the replica are made
    client = start_api(DATABASE_READ_URL=through, DATABASE_URL=through, DATABASE_POOLER=mode, DATABASE_POOL_SIZE="4")

    async def ask(client: httpx.AsyncClient, name: str) -> None:
        for _ in range(3):
            for path in (f"/v1/vehicles/{name}", f"/v1/analytics/performance/{name}", "/v1/vehicles"):
                found = body(await client.get(path))
                if path == f"/v1/vehicles/{name}":
                    assert (found["vehicleId"], found["soc"]) == (name, VEHICLES[name])

    async with httpx.AsyncClient(base_url=client.base_url, timeout=30) as asking, asyncio.TaskGroup() as group:
        for name in VEHICLES:
            group.create_task(ask(asking, name))
    sessions = await database.value(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND usename = 'reader'", database.name
    )
    assert 1 <= sessions <= SERVER_CONNECTIONS


@pytest.fixture
def hostile_pooler(processes: Processes, database: Database) -> Iterator[PgBouncer]:
    """A pooler of a database whose settings change the meaning of statements, and leave the pooler's own statements alone."""
    unhurried = {"statement_timeout": "1min", "lock_timeout": "1min", "idle_session_timeout": "1h"}
    asyncio.run(set_for_the_database(database, INHERITED | unhurried))
    with pgbouncer(processes, database) as running:
        yield running


@MODES
async def test_transactions_set_what_their_statements_rely_on_and_leave_nothing_behind(
    database: Database, hostile_pooler: PgBouncer, mode: str
) -> None:
    connections = pooler_pool(
        SecretStr(hostile_pooler.url(database.reader_url)),
        size=1,
        application_name="energy-api",
        command_timeout=30,
        prepared=mode == "transaction_prepared",
    )
    async with TransactionPool(connections, READER_SETTINGS) as transactions:
        for _ in range(2):
            connection = await transactions.acquire(timeout=10)
            inherited = {"default_transaction_isolation": INHERITED["default_transaction_isolation"]}
            assert await settings_of(connection) == SESSION | inherited | {"statement_timeout": "5s"}
            assert await connection.fetchval("SHOW transaction_isolation") == "read committed"
            assert await connection.fetchval("SHOW transaction_read_only") == "on"
            await transactions.release(connection)
        async with connections.acquire() as connection:
            await connection.execute("SELECT 1 / (current_setting('extra_float_digits') = '-5')::integer")


async def test_the_read_service_names_the_setting_that_it_lacks(
    database: Database, pooler: PgBouncer, start_api: StartApi, tmp_path: Any
) -> None:
    client = start_api(DATABASE_READ_URL="", DATABASE_URL=pooler.url(database.reader_url))
    problem(client.get("/v1/vehicles"), 503)
    assert "with DATABASE_POOLER" in (tmp_path / "api.log").read_text()


async def test_every_other_process_requires_the_server_itself(
    database: Database, pooler: PgBouncer, environment: dict[str, str], group: ConsumerGroup, topics: Topics
) -> None:
    through = environment | {"DATABASE_URL": pooler.url(database.migrator_url)}
    commands = ("sql migrate", "sql maintain --once", "sql doctor", "consumer breaker show")
    for module, *arguments in map(str.split, commands):
        code, _, stderr = await Command(module, through).run(*arguments)
        assert (code > 0, POOLER in stderr) == (True, True), stderr
    consumer = group.start(DATABASE_URL=pooler.url(database.writer_url))

    async def names_the_pooler() -> bool:
        return POOLER in str(await consumer.blocked_by())

    await until(names_the_pooler, "the consumer names the pooler")


@pytest.fixture
def ignoring_pooler(processes: Processes, database: Database) -> Iterator[PgBouncer]:
    """A pooler that drops the settings of sessions silently."""
    ignored = ", ".join(WRITER_SETTINGS | READER_SETTINGS)
    with pgbouncer(processes, database, {"ignore_startup_parameters": ignored}) as running:
        yield running


@pytest.mark.parametrize("settings", [WRITER_SETTINGS, READER_SETTINGS])
async def test_a_pooler_that_drops_the_settings_of_sessions_is_recognised(
    database: Database, ignoring_pooler: PgBouncer, settings: dict[str, str]
) -> None:
    with pytest.raises(asyncpg.ProtocolViolationError, match=POOLER):
        await connect(SecretStr(ignoring_pooler.url(database.writer_url)), server_settings=settings)
