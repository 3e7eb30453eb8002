"""The doctor finds a healthy database healthy, and names each sickness that it is given."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import jsonschema
import pytest

from deploy.stack.postgres import Postgres
from deploy.stack.resolve import Servers
from sql import findings
from sql.doctor import CHECKS
from sql.queries import queries
from tests.old_months import Command, command
from tests.servers import Database
from tests.standby import no_replay, on_standby
from tests.waiting import until

pytestmark = pytest.mark.anyio

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["level", "asked_at", "database", "standby", "server_version", "findings"],
    "properties": {
        "level": {"enum": ["ok", "warn", "fail"]},
        "asked_at": {"type": "string", "format": "date-time"},
        "database": {"type": "string"},
        "standby": {"type": "boolean"},
        "server_version": {"type": "string"},
        "findings": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["check", "level", "what", "do"],
                "properties": {
                    "check": {"type": "string"},
                    "level": {"enum": ["ok", "warn", "fail"]},
                    "what": {"type": "string", "minLength": 1},
                    "do": {"type": "string"},
                },
            },
        },
    },
}


@pytest.fixture
def sql(database: Database, environment: dict[str, str], tmp_path: Path) -> Command:
    return command(database, environment, tmp_path)


async def ask(sql: Command, *options: str) -> tuple[int, dict[str, Any], dict[str, dict[str, str]]]:
    """Exit code, the whole answer, the findings by check."""
    code, printed, said = await sql.tries("doctor", "--json", *options)
    assert printed, said
    answer = json.loads(printed)
    jsonschema.validate(answer, SCHEMA)
    return code, answer, {each["check"]: each for each in answer["findings"]}


async def test_a_healthy_database_is_healthy(sql: Command, database: Database) -> None:
    await sql.does("maintain", "--once")
    code, answer, found = await ask(sql)
    # Others of this run share the server: its memory, its connections and its replicas are not ours alone.
    shared = {"cache", "connections", "replication"}
    sick = {name: each for name, each in found.items() if each["level"] != "ok" and name not in shared}
    assert sick == {}
    assert list(found) == list(CHECKS), "the same checks in the same order"
    assert answer["database"] == database.name
    assert code in {0, 1}
    code, _, found = await ask(sql, "--ledger")
    assert found["ledger"]["level"] == "ok"


SICK = {
    "a ledger that rows do not bear out": (
        (
            "INSERT INTO kafka_offsets (consumer_group, topic, partition, start_offset, next_offset, records_consumed, "
            "records_written) "
            "VALUES ('g', 'vehicle-test', 0, 0, 5, 5, 5)"
        ),
        "ledger",
        "fail",
        "5 written, 0 there",
    ),
    "a stopped topic": (
        "INSERT INTO topic_breakers (consumer_group, topic, state, detail) VALUES ('g', 't', 'open', '600 of 1000 refused')",
        "topics",
        "fail",
        "t is not read: 600 of 1000 refused",
    ),
    "a topic let through": (
        "INSERT INTO topic_breakers (consumer_group, topic, state, detail) VALUES ('g', 't', 'letting_through', 'x')",
        "topics",
        "warn",
        "refused records of t",
    ),
    "a partition that stands still": (
        (
            "INSERT INTO kafka_offsets (consumer_group, topic, partition, start_offset, next_offset, end_offset, updated_at) "
            "VALUES ('g', 't', 3, 0, 0, 70, now() - interval '20 min')"
        ),
        "topics",
        "fail",
        "t/3 of g has had 70 records",
    ),
    "dead letters": (
        (
            'INSERT INTO dead_letters (consumer_group, topic, partition, "offset", reason, detail) VALUES '
            "('g', 't', 0, 1, 'not_json', 'x'), ('g', 't', 0, 2, 'not_json', 'x')"
        ),
        "dead_letters",
        "warn",
        "2 are unresolved; most: 2 not_json of t",
    ),
    "no month to write to": (
        f"DROP TABLE vehicle_telemetry_history_y{datetime.now(UTC):%Ym%m}",
        "partitions",
        "fail",
        "in vehicle_telemetry_history",
    ),
    "a month that should have gone": (
        "SELECT ensure_history_partitions('2024-01-01', '2024-01-01')",
        "partitions",
        "warn",
        "2024-01 is older than RETENTION_DAYS",
    ),
    "no maintenance for an hour": (
        "UPDATE rollup_state SET refreshed_at = now() - interval '2 hours'",
        "maintenance",
        "fail",
        "no round for",
    ),
    "a task that fails": (
        "INSERT INTO maintenance_runs (task, failed_at, error) VALUES ('retention', now(), 'no room')",
        "maintenance",
        "warn",
        "retention failed: no room",
    ),
    "alerts that do not leave": (
        "INSERT INTO alert_outbox (key, value, created_at) VALUES ('k', 'v', now() - interval '1 hour')",
        "alerts",
        "warn",
        "1 alerts are not published",
    ),
    "an older schema": ("DROP TABLE maintenance_runs", "maintenance", "fail", "maintenance_runs"),
}


@pytest.mark.parametrize("sickness", SICK)
async def test_each_sickness_is_named(sql: Command, database: Database, sickness: str) -> None:
    statement, check, level, words = SICK[sickness]
    await database.execute("UPDATE rollup_state SET refreshed_at = now()")  # the template may be many rounds old
    await database.execute(statement.replace("vehicle-test", sql.environment["KAFKA_VEHICLE_TOPIC"]))
    code, _, found = await ask(sql)
    assert (found[check]["level"], words in found[check]["what"]) == (level, True), found[check]
    assert found[check]["do"]
    assert code >= {"warn": 1, "fail": 2}[level]
    assert {each["level"] for name, each in found.items() if name in {"durability", "wraparound", "indexes"}} == {"ok"}
    text = (await sql.tries("doctor"))[1]
    assert f"{level.upper()} {check}: " in text


async def test_an_index_that_is_not_valid_is_named(sql: Command, database: Database) -> None:
    await database.execute("CREATE TABLE twice AS SELECT 1 AS id FROM generate_series(1, 2)")
    with pytest.raises(asyncpg.UniqueViolationError):
        await database.execute("CREATE UNIQUE INDEX CONCURRENTLY not_unique ON twice (id)")
    _, _, found = await ask(sql)
    assert found["indexes"]["level"] == "warn"
    assert "not valid: not_unique" in found["indexes"]["what"]


async def test_an_index_that_nobody_uses_and_a_table_without_one_are_named(sql: Command, database: Database) -> None:
    await database.execute(
        "CREATE TABLE large AS SELECT n AS id, lpad(n::text, 150) AS words FROM generate_series(1, 110000) AS n;"
        "CREATE INDEX never_used ON large (words)"
    )
    await database.execute("DO $$ BEGIN FOR n IN 1..1001 LOOP PERFORM count(*) FROM large; END LOOP; END $$")
    _, _, found = await ask(sql)
    assert found["indexes"]["level"] == "warn"
    assert "not used: never_used (" in found["indexes"]["what"]
    assert "read from end to end: large (1,0" in found["indexes"]["what"]
    assert found["indexes"]["do"] == (
        "drop what is not used on any replica either; find the statement (slow_statements) and give it an index"
    )


async def test_dead_rows_that_nobody_removes_are_named(sql: Command, database: Database) -> None:
    await database.execute("ALTER TABLE vehicle_live_status SET (autovacuum_enabled = false)")
    await database.execute(
        "INSERT INTO vehicle_live_status "
        "(vehicle_id, soc, last_kwh_delivered_dc, last_battery_temp, recorded_at, updated_at) "
        "SELECT 'VEH-' || n, 50, 1, 20, now(), now() FROM generate_series(1, 10001) AS n; DELETE FROM vehicle_live_status"
    )
    _, _, found = await ask(sql)
    assert found["live_tables"]["level"] == "warn"
    assert "vehicle_live_status has 10,001 dead rows for 0 live ones" in found["live_tables"]["what"]
    assert "VACUUM" in found["live_tables"]["do"]


async def test_a_transaction_in_which_nothing_happens_is_named(database: Database) -> None:
    """Asked directly: for how long it may last is a minute for the command."""
    forgotten, doctor = [await asyncpg.connect(database.migrator_url) for _ in range(2)]
    try:
        await forgotten.execute("SET application_name = 'forgetful'; BEGIN; SELECT 1")
        asked = {"idle_seconds": findings.IDLE_SECONDS, "busy_seconds": findings.BUSY_SECONDS}
        assert [row async for row in queries.ask_transactions(doctor, **asked)] == []
        rows = [row async for row in queries.ask_transactions(doctor, **asked | {"idle_seconds": 0.0})]
    finally:
        await forgotten.close()
        await doctor.close()
    found = findings.transactions(rows, 0)
    assert (found.check, found.level) == ("transactions", "warn")
    assert re.fullmatch(r"forgetful \(pid \d+\) for 0 s, idle in transaction", found.what)
    assert "pg_terminate_backend" in found.do


async def test_few_connections_left_are_named(sql: Command, database: Database) -> None:
    most = await database.value(
        "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
    )
    async with AsyncExitStack() as held:
        for _ in range(int(most * 0.82)):
            connection = await asyncpg.connect(database.migrator_url)
            held.push_async_callback(connection.close)
        _, _, found = await ask(sql)
    assert found["connections"]["level"] in {"warn", "fail"}
    assert f"of {most} connections are in use" in found["connections"]["what"]
    assert "raise max_connections" in found["connections"]["do"]


@pytest.fixture
async def administrator(stack: Servers, database: Database) -> AsyncIterator[Any]:
    """A connection that may do everything."""
    assert stack.postgres is not None, "only the server from packages has a superuser for tests"
    connection = await asyncpg.connect(stack.postgres.url("postgres", database.name))
    yield connection
    await connection.close()


async def write_more_than_a_gibibyte_of_wal(administrator: Any) -> None:
    """Segments of 16 MiB, each with a word in it."""
    for _ in range(66):
        await administrator.execute("SELECT pg_logical_emit_message(false, 'test', 'word'), pg_switch_wal()")


async def test_a_slot_that_nobody_reads_is_named(sql: Command, administrator: Any) -> None:
    try:
        await administrator.execute("SELECT pg_create_physical_replication_slot('forgotten', true)")
        await write_more_than_a_gibibyte_of_wal(administrator)
        _, _, found = await ask(sql)
    finally:
        await administrator.execute("SELECT pg_drop_replication_slot('forgotten')")
        await administrator.execute("CHECKPOINT")
    assert found["replication"]["level"] == "warn"
    assert re.search(r"slot forgotten keeps 1,\d{3},\d{3},\d{3} bytes of WAL for nobody", found["replication"]["what"])
    assert "drop slots" in found["replication"]["do"]


async def test_a_replica_whose_replay_is_paused_is_named_by_the_primary_and_by_itself(
    sql: Command, administrator: Any, standby: Postgres, database: Database
) -> None:
    await database.execute("INSERT INTO retired_records (topic, dead_letters) VALUES ('t', 1)")

    async def follows() -> bool:
        return bool(await on_standby(standby, database, "SELECT count(*) FROM retired_records"))

    await until(follows, "the replica follows")
    async with no_replay(standby, database):
        await write_more_than_a_gibibyte_of_wal(administrator)

        async def is_behind() -> str:
            _, _, found = await ask(sql)
            return found["replication"]["what"] if found["replication"]["level"] == "warn" else ""

        said = await until(is_behind, "the primary says that the replica is behind")
        of_itself = await on_standby(standby, database, queries.ask_standby.sql)
    assert re.search(r"is \d+ s and 1,\d{3},\d{3},\d{3} bytes behind", said)
    assert of_itself > 0
    assert findings.replication([], [], of_itself + findings.LAG_SECONDS).level == "warn"
    assert findings.replication([], [], of_itself).level == "ok", "not for a minute yet"


async def test_index_pages_that_are_not_in_memory_are_named(sql: Command, administrator: Any) -> None:
    await administrator.execute(
        "CREATE EXTENSION pg_buffercache; SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_seqscan = off;"
        "CREATE TABLE large AS SELECT n AS id FROM generate_series(1, 100000) AS n; CREATE INDEX by_id ON large (id)"
    )

    async def look_up(ids: str) -> None:
        assert await administrator.fetchval(f"SELECT count(large.id) FROM {ids} AS n JOIN large ON large.id = n") > 0
        await administrator.execute("SELECT pg_stat_force_next_flush()")

    async def cache() -> str:
        _, _, found = await ask(sql)
        return f"{found['cache']['level']}: {found['cache']['what']}"

    assert (await cache()).startswith("ok: only ")
    await look_up("generate_series(1, 100000)")
    assert re.match(r"ok: 99\.\d\d % of \d{3},\d{3} index pages were in memory", await cache())
    evict = "SELECT count(pg_buffercache_evict(bufferid)) FROM pg_buffercache WHERE relfilenode = pg_relation_filenode('by_id')"
    for _ in range(20):  # each leaf is read once and each time from the disk
        assert await administrator.fetchval(evict) > 100
        await look_up("generate_series(1, 100000, 366)")
    assert re.match(r"warn: 9\d\.\d\d % of \d{3},\d{3} index pages were in memory", await cache())


async def test_slow_statements_are_known_once_the_extension_is_there(sql: Command, administrator: Any) -> None:
    _, _, found = await ask(sql)
    assert "CREATE EXTENSION pg_stat_statements" in found["slow_statements"]["do"]
    await administrator.execute("CREATE EXTENSION pg_stat_statements")
    for _ in range(10):
        await administrator.execute("SELECT count(*) FROM pg_sleep(1.05), pg_class")
    _, _, found = await ask(sql)
    assert found["slow_statements"]["level"] == "warn"
    assert "x 10: SELECT count(*) FROM pg_sleep($1), pg_class" in found["slow_statements"]["what"]


async def test_who_may_not_ask_is_told_so(sql: Command, stack: Servers, database: Database) -> None:
    assert stack.postgres is not None, "only the server from packages has a login of little privilege"
    code, printed, _ = await sql.tries("doctor", DATABASE_URL=database.writer_url)
    assert code >= 1
    assert "could not be asked: permission denied" in printed


async def test_a_database_that_is_away_is_exit_code_3(sql: Command) -> None:
    code, printed, said = await sql.tries("doctor", "--json", DATABASE_URL="postgresql://u:hush@127.0.0.1:1/energy")
    assert (code, printed) == (3, "")
    assert "could not be asked" in said
    assert "hush" not in said
