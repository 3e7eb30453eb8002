"""`python -m sql export`: any period of all or some devices as CSV or Parquet, as a reader, completely or not at all."""

import csv
import signal
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from sql.archive.parquet import read_batches
from tests.support.command import Command
from tests.support.database import Database
from tests.support.expired_months import HISTORIES, METERS, files, fill_histories, shown_rows, write_late
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

JANUARY = datetime(2024, 1, 1, tzinfo=UTC)
MONTH = ("--from", "2024-01-01", "--to", "2024-02-01")
NAMES = dict(zip(HISTORIES, ("meters", "vehicles", "registers"), strict=True))
LATE = "INSERT INTO meter_telemetry_history (meter_id, recorded_at, kwh_consumed_ac, voltage) SELECT 'METER-4', $1, $2, 230"


@pytest.fixture
async def sql(database: Database, environment: dict[str, str]) -> Command:
    """January and March are folded; one reading of January is late."""
    await fill_histories(database, 60)
    await write_late(database, LATE, JANUARY, 7)
    return Command("sql", environment | {"DATABASE_URL": database.reader_url})


def lines_of(path: Path) -> list[dict[str, str]]:
    """The lines of a CSV file."""
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("history", HISTORIES)
async def test_a_month_is_exported_from_all_levels(
    database: Database, sql: Command, tmp_path: Path, history: str
) -> None:
    expected = await shown_rows(database, history, JANUARY)
    table, lines = tmp_path / "month.parquet", tmp_path / "month.csv"
    for file in (table, lines):
        stdout, _ = await sql.succeed("export", NAMES[history], str(file), *MONTH)
        assert stdout == f"{file}\n"

    written = lines_of(lines)
    rows = [tuple(row.values()) for batch in read_batches(table, list(written[0])) for row in batch.to_pylist()]
    assert sorted(rows, key=str) == sorted(
        ((row[0], row[1].replace(microsecond=row[1].microsecond // 1000 * 1000), *row[2:]) for row in expected), key=str
    )
    assert [datetime.fromisoformat(row["recorded_at"]) for row in written] == [row[0] for row in rows]
    device = "vehicle_id" if history.startswith("vehicle") else "meter_id"
    assert [(row[device], row["recorded_at"]) for row in written] == sorted(
        (row[device], row["recorded_at"]) for row in written
    )


async def test_some_devices_and_a_part_of_a_day_are_exported(sql: Command, tmp_path: Path) -> None:
    file = tmp_path / "some.csv"
    period = ("--from", "2024-01-01T00:10:00", "--to", "2024-01-01T00:20:00")
    await sql.succeed("export", "meters", str(file), *period, "--device", "METER-3", "--device", "METER-1")
    rows = lines_of(file)
    assert [row["meter_id"] for row in rows] == ["METER-1"] * 10 + ["METER-3"] * 10


async def test_ctrl_c_leaves_no_file(database: Database, sql: Command, tmp_path: Path) -> None:
    holder = await asyncpg.connect(database.migrator_url)
    await holder.execute("BEGIN; LOCK TABLE meter_late_readings IN ACCESS EXCLUSIVE MODE")
    process = await sql.start("export", "meters", str(tmp_path / "month.parquet"), *MONTH)

    async def is_blocked() -> bool:
        return bool(
            await database.value(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'energy-export' AND wait_event_type = 'Lock' "
                "AND datname = $1",
                database.name,
            )
        )

    try:
        await until(is_blocked, "the export waits for the table", every=0.02)
        process.send_signal(signal.SIGINT)
        _, stderr = await process.communicate()
    finally:
        await holder.close()
    assert process.returncode == 130
    assert stderr.decode().endswith("interrupted: no file was written\n")
    assert files(tmp_path) == set()


async def test_a_period_with_dropped_months_is_refused(database: Database, sql: Command, tmp_path: Path) -> None:
    await database.execute(
        f"INSERT INTO retired_months (history, month, readings, archived_in) VALUES ('{METERS}', '2024-01-01', 1, '2024-01')"
    )
    stderr = await sql.fail("export", "meters", str(tmp_path / "month.csv"), *MONTH)
    assert "months of this period were dropped from the database: 2024-01 (2024-01)" in stderr
    assert files(tmp_path) == set()
    await sql.succeed("export", "vehicles", str(tmp_path / "month.csv"), *MONTH)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("meters", "month.txt", *MONTH), "must end with .csv or .parquet"),
        (("meters", "month.csv", "--from", "2024-02-01", "--to", "2024-01-01"), "--from must be before --to"),
    ],
)
async def test_what_cannot_be_exported_is_refused(sql: Command, arguments: tuple[str, ...], message: str) -> None:
    code, _, stderr = await sql.run("export", *arguments)
    assert (code, message in stderr) == (2, True)


async def test_a_directory_that_does_not_exist_is_named(sql: Command, tmp_path: Path) -> None:
    assert "No such file" in await sql.fail("export", "meters", str(tmp_path / "nowhere" / "month.csv"), *MONTH)
