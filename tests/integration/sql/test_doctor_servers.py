"""The doctor on servers with problems: replicas, slots, memory, statements."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from deploy.stack.postgres import Postgres
from deploy.stack.servers import Servers
from sql.doctor import server_findings as findings
from sql.queries import queries
from tests.support.command import Command, sql_command
from tests.support.database import Database
from tests.support.doctor import run_doctor
from tests.support.standby import fetch_from_standby, paused_replay
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


@pytest.fixture
def sql(database: Database, environment: dict[str, str], tmp_path: Path) -> Command:
    return sql_command(environment, database, tmp_path)


@pytest.fixture
async def administrator(stack: Servers, database: Database) -> AsyncIterator[Any]:
    """A superuser connection."""
    assert stack.postgres is not None, "only the server from packages has a superuser for tests"
    connection = await asyncpg.connect(stack.postgres.url("postgres", database.name))
    yield connection
    await connection.close()


async def write_more_than_a_gibibyte_of_wal(administrator: Any) -> None:
    """Switches through WAL segments of 16 MiB, each with one message."""
    for _ in range(66):
        await administrator.execute("SELECT pg_logical_emit_message(false, 'test', 'word'), pg_switch_wal()")


async def test_an_inactive_replication_slot_is_found(sql: Command, administrator: Any) -> None:
    try:
        await administrator.execute("SELECT pg_create_physical_replication_slot('forgotten', true)")
        await write_more_than_a_gibibyte_of_wal(administrator)
        _, _, found = await run_doctor(sql)
    finally:
        await administrator.execute("SELECT pg_drop_replication_slot('forgotten')")
        await administrator.execute("CHECKPOINT")
    assert found["replication"]["level"] == "warn"
    assert re.search(
        r"slot forgotten is inactive and retains 1,\d{3},\d{3},\d{3} bytes of WAL", found["replication"]["what"]
    )
    assert "drop slots" in found["replication"]["do"]


async def test_a_replica_with_paused_replay_is_found_on_the_primary_and_on_the_replica(
    sql: Command, administrator: Any, standby: Postgres, database: Database
) -> None:
    await database.execute("INSERT INTO retired_records (topic, dead_letters) VALUES ('t', 1)")

    async def follows() -> bool:
        return bool(await fetch_from_standby(standby, database, "SELECT count(*) FROM retired_records"))

    await until(follows, "the replica follows")
    async with paused_replay(standby, database):
        await write_more_than_a_gibibyte_of_wal(administrator)

        async def is_behind() -> str:
            _, _, found = await run_doctor(sql)
            return found["replication"]["what"] if found["replication"]["level"] == "warn" else ""

        what = await until(is_behind, "the primary says that the replica is behind")
        of_itself = await fetch_from_standby(standby, database, queries.check_standby.sql)
    assert re.search(r"is \d+ s and 1,\d{3},\d{3},\d{3} bytes behind", what)
    assert of_itself > 0
    assert findings.replication([], [], of_itself + findings.LAG_SECONDS).level == "warn"
    assert findings.replication([], [], of_itself).level == "ok", "not for a minute yet"


@pytest.mark.postgres(17)  # pg_buffercache_evict
async def test_a_low_index_cache_hit_ratio_is_found(sql: Command, administrator: Any) -> None:
    await administrator.execute(
        "CREATE EXTENSION pg_buffercache; SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_seqscan = off;"
        "CREATE TABLE large AS SELECT n AS id FROM generate_series(1, 100000) AS n; CREATE INDEX by_id ON large (id)"
    )

    async def look_up(ids: str) -> None:
        assert await administrator.fetchval(f"SELECT count(large.id) FROM {ids} AS n JOIN large ON large.id = n") > 0
        await administrator.execute("SELECT pg_stat_force_next_flush()")

    async def cache() -> str:
        _, _, found = await run_doctor(sql)
        return f"{found['cache']['level']}: {found['cache']['what']}"

    assert (await cache()).startswith("ok: only ")
    await look_up("generate_series(1, 100000)")
    assert re.match(r"ok: 99\.\d\d % of \d{3},\d{3} index pages were in memory", await cache())
    evict = "SELECT count(pg_buffercache_evict(bufferid)) FROM pg_buffercache WHERE relfilenode = pg_relation_filenode('by_id')"
    for _ in range(20):  # each index leaf is read once, from disk
        assert await administrator.fetchval(evict) > 100
        await look_up("generate_series(1, 100000, 366)")
    assert re.match(r"warn: 9\d\.\d\d % of \d{3},\d{3} index pages were in memory", await cache())


async def test_slow_statements_are_found_once_the_extension_is_installed(sql: Command, administrator: Any) -> None:
    _, _, found = await run_doctor(sql)
    assert "CREATE EXTENSION pg_stat_statements" in found["slow_statements"]["do"]
    await administrator.execute("CREATE EXTENSION pg_stat_statements")
    for _ in range(10):
        await administrator.execute("SELECT count(*) FROM pg_sleep(1.05), pg_class")
    _, _, found = await run_doctor(sql)
    assert found["slow_statements"]["level"] == "warn"
    assert "x 10: SELECT count(*) FROM pg_sleep($1), pg_class" in found["slow_statements"]["what"]


async def test_settings_below_those_for_a_fleet_are_named(sql: Command, administrator: Any, database: Database) -> None:
    _, report, found = await run_doctor(sql)
    assert f"PostgreSQL {report['server_version'].split('.')[0]}; " in found["server"]["what"]
    assert "for a fleet" not in found["server"]["what"], "the stack has the documented settings"
    await administrator.execute(f"ALTER DATABASE {database.name} SET random_page_cost = 4")
    _, _, found = await run_doctor(sql)
    assert found["server"]["level"] == "ok"
    assert "random_page_cost is 4, and 1.1 for a fleet" in found["server"]["what"]
