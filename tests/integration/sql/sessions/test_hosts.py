"""A URL with the hosts of a primary and of a standby: every process and command takes the primary, or names the standby."""

import asyncio
import json
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from pydantic import SecretStr

from deploy.stack.postgres import Postgres
from sql.connection import READER_SETTINGS, WRITER_SETTINGS, address_of, connect, pool
from sql.maintenance.database_metrics import measure
from tests.support.command import Command
from tests.support.database import Database
from tests.support.doctor import run_doctor
from tests.support.ledger import Topics
from tests.support.responses import StartApi, body
from tests.support.services import ConsumerGroup
from tests.support.standby import fetch_from_standby
from tests.support.waiting import until

pytestmark = pytest.mark.anyio
ATTRIBUTES = pytest.mark.parametrize("attributes", ["read-write", "primary"])


def netloc_of(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def both(first: str, second: str, attributes: str | None = None) -> str:
    """The first URL with the hosts of both."""
    hosts = f"{netloc_of(first)},{netloc_of(second)}"
    return first.replace(netloc_of(first), hosts) + (f"?target_session_attrs={attributes}" if attributes else "")


@pytest.fixture
async def follower(standby: Postgres, database: Database) -> Postgres:
    """The standby, once it has the test's database."""

    async def follows() -> bool:
        try:
            return bool(await fetch_from_standby(standby, database, "SELECT true"))
        except asyncpg.InvalidCatalogNameError:
            return False

    await until(follows, "the standby has the database")
    return standby


@pytest.fixture
def owner_url(follower: Postgres, database: Database) -> str:
    """The standby first, then the primary, without attributes; for the owner of the schema."""
    return both(follower.url("migrator", database.name), database.migrator_url)


@ATTRIBUTES
async def test_migrate_and_doctor_and_maintenance_take_the_primary_of_two_hosts(
    owner_url: str, database: Database, environment: dict[str, str], attributes: str
) -> None:
    url = f"{owner_url}?target_session_attrs={attributes}"
    sql = Command("sql", environment | {"DATABASE_URL": url})
    await database.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    await sql.succeed("migrate")
    _, report, _ = await run_doctor(sql)
    assert (report["database"], report["standby"]) == (database.name, False)
    await sql.succeed("maintain", "--once")
    assert (await measure(SecretStr(url), 3)).numbers
    await Command("consumer", sql.environment).succeed("breaker", "show")


COMMANDS = (
    "sql assign -", "sql export meters {file} --from 2026-01-01 --to 2026-01-02", "sql doctor --ledger --json",
    "consumer offsets show", "consumer dead-letters list", "consumer breaker show",
)  # fmt: skip


async def test_every_command_takes_the_primary_of_two_hosts(
    owner_url: str, environment: dict[str, str], topics: Topics, tmp_path: Path
) -> None:
    environment["DATABASE_URL"] = f"{owner_url}?target_session_attrs=primary"

    async def run(command: str) -> tuple[int, str, str]:
        module, *arguments = command.format(file=tmp_path / "meters.csv").split()
        return await Command(module, environment).run(*arguments, stdin="vehicle_id,meter_id,valid_from,valid_to\n")

    results = dict(zip(COMMANDS, await asyncio.gather(*map(run, COMMANDS)), strict=True))
    assert {command: stderr for command, (code, _, stderr) in results.items() if code > ("doctor" in command)} == {}
    assert json.loads(results["sql doctor --ledger --json"][1])["standby"] is False


@ATTRIBUTES
async def test_the_api_reads_from_the_primary_of_two_hosts(
    start_api: StartApi, follower: Postgres, database: Database, attributes: str
) -> None:
    url = both(follower.url("reader", database.name), database.reader_url, attributes)
    client = start_api(DATABASE_READ_URL="", DATABASE_URL=url)
    assert body(client.get("/readyz"))["status"] == "ok"
    assert body(client.get("/v1/vehicles"))["items"] == []


async def test_a_reader_of_read_only_hosts_takes_the_standby(follower: Postgres, database: Database) -> None:
    url = both(database.reader_url, follower.url("reader", database.name), "read-only")
    async with pool(SecretStr(url), size=1, server_settings=READER_SETTINGS, command_timeout=5) as readers:
        assert await readers.fetchval("SELECT pg_is_in_recovery()")


async def test_a_writer_that_meets_a_standby_names_it(owner_url: str, follower: Postgres, database: Database) -> None:
    standby = netloc_of(follower.url("writer", database.name))
    for url in (owner_url, follower.url("migrator", database.name)):
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError, match=f"the server {standby} is a standby"):
            await connect(SecretStr(url), server_settings=WRITER_SETTINGS)
    writable = await connect(SecretStr(f"{owner_url}?target_session_attrs=primary"), server_settings=WRITER_SETTINGS)
    assert "{}:{}".format(*await address_of(writable)) == netloc_of(database.migrator_url)
    await writable.close()


async def test_commands_on_a_standby_name_it(owner_url: str, follower: Postgres, environment: dict[str, str]) -> None:
    for module, arguments in (("sql", ["migrate"]), ("consumer", ["breaker", "show"])):
        stderr = await Command(module, environment | {"DATABASE_URL": owner_url}).fail(*arguments)
        assert f"the server {netloc_of(follower.url())} is a standby" in stderr
        assert "target_session_attrs=primary" in stderr


async def test_a_consumer_on_a_standby_says_so_and_continues_on_the_primary_of_another_url(
    follower: Postgres, database: Database, group: ConsumerGroup, topics: Topics
) -> None:
    url = both(follower.url("writer", database.name), database.writer_url)
    consumer = group.start(DATABASE_URL=url)

    async def names_the_standby() -> bool:
        return f"the server {netloc_of(follower.url())} is a standby" in str(await consumer.blocked_by())

    await until(names_the_standby, "the consumer names the standby")
    assert group.stop(consumer) == 0
    await group.start(DATABASE_URL=f"{url}?target_session_attrs=primary").until_ready()


async def test_a_database_that_is_set_to_read_only_is_reported_as_such(database: Database) -> None:
    await database.execute(f"ALTER DATABASE {database.name} SET default_transaction_read_only = on")
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError, match="default_transaction_read_only is on"):
        await connect(SecretStr(database.writer_url), server_settings=WRITER_SETTINGS)
    async with pool(
        SecretStr(database.reader_url), size=1, server_settings=READER_SETTINGS, command_timeout=5
    ) as readers:
        assert await readers.fetchval("SELECT true")
