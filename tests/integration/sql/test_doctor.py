"""The doctor reports a healthy database as healthy, and finds each problem that is created."""

import re
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest

from deploy.stack.servers import Servers
from sql.doctor import server_findings as findings
from sql.doctor.checks import CHECKS
from sql.queries import queries
from tests.support.command import Command, sql_command
from tests.support.database import Database
from tests.support.doctor import run_doctor

pytestmark = pytest.mark.anyio


@pytest.fixture
def sql(database: Database, environment: dict[str, str], tmp_path: Path) -> Command:
    return sql_command(environment, database, tmp_path)


async def test_a_healthy_database_has_no_problems(sql: Command, database: Database) -> None:
    await sql.succeed("maintain", "--once")
    code, answer, found = await run_doctor(sql)
    # Other tests share the server, and with it memory, connections and replicas.
    shared = {"cache", "connections", "replication"}
    problems = {name: each for name, each in found.items() if each["level"] != "ok" and name not in shared}
    assert problems == {}
    assert list(found) == list(CHECKS), "the same checks in the same order"
    assert answer["database"] == database.name
    assert code in {0, 1}
    code, _, found = await run_doctor(sql, "--ledger")
    assert found["ledger"]["level"] == "ok"


PROBLEMS = {
    "an isolation level that our sessions override": (
        (
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = %L', current_database(), "
            "'repeatable read'); END $$"
        ),
        "settings",
        "warn",
        "default_transaction_isolation=repeatable read (the database)",
    ),
    "a ledger that differs from the rows": (
        (
            "INSERT INTO kafka_offsets (consumer_group, topic, partition, start_offset, next_offset, records_consumed, "
            "records_written) "
            "VALUES ('g', 'vehicle-test', 0, 0, 5, 5, 5)"
        ),
        "ledger",
        "fail",
        "5 written, 0 stored",
    ),
    "an open circuit breaker": (
        "INSERT INTO topic_breakers (consumer_group, topic, state, detail) VALUES ('g', 't', 'open', '600 of 1000 refused')",
        "topics",
        "fail",
        "t is not consumed: 600 of 1000 refused",
    ),
    "a topic whose rejected records are let through": (
        "INSERT INTO topic_breakers (consumer_group, topic, state, detail) VALUES ('g', 't', 'letting_through', 'x')",
        "topics",
        "warn",
        "rejected records of t",
    ),
    "a stalled partition": (
        (
            "INSERT INTO kafka_offsets (consumer_group, topic, partition, start_offset, next_offset, end_offset, updated_at) "
            "VALUES ('g', 't', 3, 0, 0, 70, now() - interval '20 min')"
        ),
        "topics",
        "fail",
        "t/3 of g has 70 unread records",
    ),
    "a halted partition": (
        (
            "INSERT INTO kafka_offsets (consumer_group, topic, partition, start_offset, next_offset, halt_reason, halted_at) "
            "VALUES ('g', 't', 3, 0, 0, 'another log', now())"
        ),
        "topics",
        "fail",
        "t/3 of g is halted: another log",
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
    "no partition for today": (
        (
            "DO $$ BEGIN EXECUTE (SELECT string_agg(format('DROP TABLE %s', relid), '; ') "
            "FROM pg_partition_tree('vehicle_telemetry_history') WHERE isleaf); END $$"
        ),
        "partitions",
        "fail",
        "in vehicle_telemetry_history",
    ),
    "a month that should have been dropped": (
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
    "unpublished alerts": (
        "INSERT INTO alert_outbox (key, value, created_at) VALUES ('k', 'v', now() - interval '1 hour')",
        "alerts",
        "warn",
        "1 alerts are not published",
    ),
    "an older schema": ("DROP TABLE maintenance_runs", "maintenance", "fail", "maintenance_runs"),
}


@pytest.mark.parametrize("problem", PROBLEMS)
async def test_each_problem_is_found(sql: Command, database: Database, problem: str) -> None:
    statement, check, level, words = PROBLEMS[problem]
    await database.execute(
        "UPDATE rollup_state SET refreshed_at = now()"
    )  # the template database may be older than the interval
    await database.execute(statement.replace("vehicle-test", sql.environment["KAFKA_VEHICLE_TOPIC"]))
    code, _, found = await run_doctor(sql)
    assert (found[check]["level"], words in found[check]["what"]) == (level, True), found[check]
    assert found[check]["do"]
    assert code >= {"warn": 1, "fail": 2}[level]
    assert {each["level"] for name, each in found.items() if name in {"durability", "wraparound", "indexes"}} == {"ok"}
    text = (await sql.run("doctor"))[1]
    assert f"{level.upper()} {check}: " in text


async def test_an_invalid_index_is_found(sql: Command, database: Database) -> None:
    await database.execute("CREATE TABLE twice AS SELECT 1 AS id FROM generate_series(1, 2)")
    with pytest.raises(asyncpg.UniqueViolationError):
        await database.execute("CREATE UNIQUE INDEX CONCURRENTLY not_unique ON twice (id)")
    _, _, found = await run_doctor(sql)
    assert found["indexes"]["level"] == "warn"
    assert "not valid: not_unique" in found["indexes"]["what"]


async def test_an_unused_index_and_a_table_without_an_index_are_found(sql: Command, database: Database) -> None:
    await database.execute(
        "CREATE TABLE large AS SELECT n AS id, lpad(n::text, 150) AS words FROM generate_series(1, 110000) AS n;"
        "CREATE INDEX never_used ON large (words)"
    )
    await database.execute("DO $$ BEGIN FOR n IN 1..1001 LOOP PERFORM count(*) FROM large; END LOOP; END $$")
    _, _, found = await run_doctor(sql)
    assert found["indexes"]["level"] == "warn"
    assert "not used: never_used (" in found["indexes"]["what"]
    assert "scanned sequentially: large (1,0" in found["indexes"]["what"]
    assert found["indexes"]["do"] == (
        "drop them if no replica uses them either; find the statement (slow_statements) and add an index for it"
    )


async def test_dead_rows_that_are_not_vacuumed_are_found(sql: Command, database: Database) -> None:
    await database.execute("ALTER TABLE vehicle_live_status SET (autovacuum_enabled = false)")
    await database.execute(
        "INSERT INTO vehicle_live_status "
        "(vehicle_id, soc, last_kwh_delivered_dc, last_battery_temp, recorded_at, updated_at) "
        "SELECT 'VEH-' || n, 50, 1, 20, now(), now() FROM generate_series(1, 10001) AS n; DELETE FROM vehicle_live_status"
    )
    _, _, found = await run_doctor(sql)
    assert found["live_tables"]["level"] == "warn"
    assert "vehicle_live_status has 10,001 dead rows for 0 live ones" in found["live_tables"]["what"]
    assert "VACUUM" in found["live_tables"]["do"]


async def test_an_idle_transaction_is_found(database: Database) -> None:
    """Calls the query directly, because the command reports idle transactions only after a minute."""
    forgotten, doctor = [await asyncpg.connect(database.migrator_url) for _ in range(2)]
    try:
        await forgotten.execute("SET application_name = 'forgetful'; BEGIN; SELECT 1")
        asked = {"idle_seconds": findings.IDLE_SECONDS, "busy_seconds": findings.BUSY_SECONDS}
        assert [row async for row in queries.check_transactions(doctor, **asked)] == []
        rows = [row async for row in queries.check_transactions(doctor, **asked | {"idle_seconds": 0.0})]
    finally:
        await forgotten.close()
        await doctor.close()
    found = findings.transactions(rows, 0)
    assert (found.check, found.level) == ("transactions", "warn")
    assert re.fullmatch(r"forgetful \(pid \d+\) for 0 s, idle in transaction", found.what)
    assert "pg_terminate_backend" in found.do


async def test_nearly_exhausted_connections_are_found(sql: Command, database: Database) -> None:
    most = await database.value(
        "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
    )
    async with AsyncExitStack() as held:
        for _ in range(int(most * 0.82)):
            connection = await asyncpg.connect(database.migrator_url)
            held.push_async_callback(connection.close)
        _, _, found = await run_doctor(sql)
    assert found["connections"]["level"] in {"warn", "fail"}
    assert f"of {most} connections are in use" in found["connections"]["what"]
    assert "raise max_connections" in found["connections"]["do"]


async def test_missing_privileges_are_reported(sql: Command, stack: Servers, database: Database) -> None:
    assert stack.postgres is not None, "only the server from packages has a login of little privilege"
    code, stdout, _ = await sql.run("doctor", DATABASE_URL=database.writer_url)
    assert code >= 1
    assert "check failed: permission denied" in stdout


async def test_an_unreachable_database_is_exit_code_3(sql: Command) -> None:
    code, stdout, stderr = await sql.run("doctor", "--json", DATABASE_URL="postgresql://u:hush@127.0.0.1:1/energy")
    assert (code, stdout) == (3, "")
    assert "could not be reached" in stderr
    assert "hush" not in stderr
