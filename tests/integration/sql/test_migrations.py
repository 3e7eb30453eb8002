"""Migrations: applied once under concurrency, equal to the committed schema, with no more privileges than needed."""

import asyncio
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pydantic import SecretStr

from deploy.stack.servers import Servers
from sql.migrate import migrate
from sql.partitions import ensure_partitions
from sql.settings import SqlSettings
from tests.support.database import Database, drop_rows, names_of_rows
from tests.support.repository import ROOT

pytestmark = pytest.mark.anyio


async def _command(environment: dict[str, str], *arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "sql",
        *arguments,
        env=environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


@pytest.fixture
async def empty(database: Database) -> Database:
    await database.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public; GRANT USAGE ON SCHEMA public TO PUBLIC")
    return database


@pytest.fixture
def as_migrator(environment: dict[str, str], database: Database) -> dict[str, str]:
    return environment | {"DATABASE_URL": database.migrator_url}


async def test_two_concurrent_runs_apply_each_migration_once(empty: Database, as_migrator: dict[str, str]) -> None:
    results = await asyncio.gather(*(_command(as_migrator, "migrate") for _ in range(2)))

    assert [code for code, _ in results] == [0, 0], results
    applied = await empty.fetch("SELECT version FROM schema_migrations ORDER BY 1")
    files = sorted(file.name.split("_")[0] for file in (ROOT / "sql" / "migrations").glob("*.sql"))
    assert [row["version"] for row in applied] == files
    assert sum(output.count("migration_applied") for _, output in results) == len(files)


async def test_migrating_again_changes_nothing(as_migrator: dict[str, str]) -> None:
    code, output = await _command(as_migrator, "migrate")
    assert code == 0, output
    assert "migration_applied" not in output


async def test_a_failing_migration_reports_the_error_and_exits_1(empty: Database, as_migrator: dict[str, str]) -> None:
    await empty.execute("CREATE TABLE meter_live_status (other int)")
    code, output = await _command(as_migrator, "migrate")
    assert code == 1
    assert "meter_live_status" in output
    assert "already exists" in output


@pytest.mark.postgres(18)  # pg_dump names the constraints of NOT NULL
async def test_the_committed_schema_is_what_the_migrations_create(stack: Servers, database: Database) -> None:
    from deploy.schema import dump  # noqa: PLC0415 - needs the local server's pg_dump

    if stack.postgres is None:
        pytest.skip("pg_dump of the same version comes with the server from packages")
    assert dump(database.migrator_url) == (ROOT / "sql" / "schema.sql").read_text(), "run: make schema"


async def test_partitions_cover_the_retention_and_two_months_ahead(database: Database) -> None:
    now = datetime.now(UTC)
    months = {f"{now - timedelta(days=days):%Ym%m}" for days in range(401)}
    ahead = now.replace(day=1)
    for _ in range(2):
        ahead = (ahead + timedelta(days=32)).replace(day=1)
        months.add(f"{ahead:%Ym%m}")
    assert await _partitions(database, "meter_days") >= {f"meter_days_y{month}" for month in months}


async def test_a_new_database_has_a_partition_of_rows_for_each_day_from_three_days_ago_to_two_weeks_ahead(
    database: Database,
) -> None:
    connection = await asyncpg.connect(database.migrator_url)
    await drop_rows(connection)
    await connection.close()
    await migrate(SqlSettings(database_url=SecretStr(database.migrator_url)))
    today = datetime.now(UTC)
    assert await _partitions(database, "meter_telemetry_history") == set(
        names_of_rows(today - timedelta(days=3), today, "meter_telemetry_history")
    )


async def _partitions(database: Database, parent: str) -> set[str]:
    rows = await database.fetch("SELECT relid::text FROM pg_partition_tree($1::text::regclass) WHERE isleaf", parent)
    return {row[0] for row in rows}


async def test_concurrent_and_repeated_runs_create_each_partition_once(database: Database) -> None:
    connections = [await asyncpg.connect(database.migrator_url) for _ in range(2)]
    later = datetime.now(UTC) + timedelta(days=400)
    try:
        made = await asyncio.gather(*(ensure_partitions(each, later, 30) for each in connections))
        again = await ensure_partitions(connections[0], later, 30)
    finally:
        for each in connections:
            await each.close()
    assert len(made[0]) + len(made[1]) == len(set(made[0]) | set(made[1])) > 0
    assert again == []


@pytest.mark.parametrize(
    "forbidden",
    [
        "DELETE FROM meter_telemetry_history",
        "UPDATE meter_telemetry_history SET voltage = 0",
        "UPDATE meter_register_history SET kwh_high = NULL",
        "DELETE FROM kafka_offsets",
        "SELECT value FROM dead_letters",
        "DROP TABLE meter_live_status",
        "CREATE TABLE mine (id int)",
        "UPDATE rollup_state SET late_before = now()",
    ],
)
async def test_a_writer_has_no_more_privileges_than_it_needs(
    stack: Servers, database: Database, forbidden: str
) -> None:
    await _refused(stack, database.writer_url, forbidden)


@pytest.mark.parametrize(
    "forbidden",
    [
        "INSERT INTO meter_live_status VALUES ('a', 1, 1, now(), now())",
        "UPDATE kafka_offsets SET next_offset = 0",
        "SELECT value FROM dead_letters",
        "TRUNCATE vehicle_telemetry_history",
    ],
)
async def test_a_reader_may_only_read(stack: Servers, database: Database, forbidden: str) -> None:
    await _refused(stack, database.reader_url, forbidden)


async def _refused(stack: Servers, url: str, statement: str) -> None:
    if stack.postgres is None:
        pytest.skip("the logins of least privilege are those of the server from packages")
    connection: Any = await asyncpg.connect(url)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    finally:
        await connection.close()


async def test_a_file_of_assignments_is_imported_completely_or_not_at_all(
    database: Database, as_migrator: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "assignments.csv"
    header = "vehicle_id,meter_id,valid_from,valid_to\n"
    file.write_text(
        header
        + "VEH-001,METER-001,2026-01-01T00:00:00Z,2026-02-01T00:00:00Z\nVEH-001,METER-002,2026-02-01T00:00:00Z,\n"
    )
    assert (await _command(as_migrator, "assign", str(file)))[0] == 0
    assert (await _command(as_migrator, "assign", str(file)))[0] == 0, "the same file again changes nothing"

    file.write_text(header + "VEH-003,METER-003,2026-01-01T00:00:00Z,\nVEH-002,METER-002,2026-03-01T00:00:00Z,\n")
    code, output = await _command(as_migrator, "assign", str(file))

    assert code == 1
    assert "METER-002" in output, "the error names what overlaps"
    assert re.search("nothing was imported", output)
    assert await database.value("SELECT count(*) FROM vehicle_meter_assignments") == 2
