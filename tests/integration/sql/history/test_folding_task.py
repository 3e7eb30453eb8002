"""Folding and merging as tasks of maintenance: the views show the same readings before, during and after, wherever it stops."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest
from pydantic import SecretStr

from sql.maintenance import folding
from sql.maintenance.folding import FoldingError, fold_days
from sql.maintenance.merging import merge_late_readings
from sql.maintenance.scheduler import TASKS
from sql.partitions import begin_folding, ensure_partitions
from sql.settings import MaintainSettings
from tests.integration.sql.history.levels import METERS, TODAY, Levels, days_ago
from tests.support.command import sql_command
from tests.support.database import Database, drop_rows, names_of_rows, use_months
from tests.support.expired_months import connect_as_maintenance
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

OLDEST: Final = days_ago(6)
DAYS: Final = tuple(days_ago(days) for days in range(6, 0, -1))
DUE: Final = [day.date() for day in DAYS[:3]]  # those that ended three days ago
HOUR: Final = timedelta(hours=1)
LATE: Final = (
    "INSERT INTO meter_late_readings (meter_id, recorded_at, ingested_at, kwh_consumed_ac, voltage) "
    "VALUES ('METER-2', $1, $1, 5, 231)"
)


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Any]:
    opened = await connect_as_maintenance(database)
    yield opened
    opened.terminate()


@pytest.fixture
async def another(database: Database) -> AsyncIterator[Any]:
    opened = await connect_as_maintenance(database)
    yield opened
    opened.terminate()


@pytest.fixture
async def levels(connection: Any) -> Levels:
    """Six days of rows in partitions of a day, which are rolled up."""
    levels = Levels(connection)
    await levels.use_days(OLDEST)
    await levels.store(*DAYS)
    await levels.roll_up()
    return levels


async def fold(connection: Any) -> list[Any]:
    return await fold_days(connection, datetime.now(UTC), after=timedelta(days=3), seconds=60)


async def begin(connection: Any, **how: Any) -> list[str]:
    await begin_folding(connection, datetime.now(UTC), 3, **how)
    return await ensure_partitions(connection, datetime.now(UTC), 400)


async def merge(levels: Levels) -> int:
    return await merge_late_readings(levels.connection, since=days_ago(400), seconds=60)


async def test_days_are_folded_and_their_rows_and_rollups_dropped(levels: Levels, database: Database) -> None:
    before = await levels.readings()
    assert [len(rows) for rows in before.values()] == [6 * 3 * 48, 6 * 2 * 48, 6 * 48]

    assert await fold(levels.connection) == DUE

    assert await levels.readings() == before
    assert await levels.watermarks() == (days_ago(3), days_ago(3))
    assert await levels.folded_days() == DUE
    assert (await levels.tables_of_rows())[0] == f"meter_telemetry_history_y{days_ago(3):%Ym%md%d}"
    assert await database.value("SELECT min(hour) FROM meter_energy_hourly") == days_ago(3)
    assert await database.value("SELECT count(*) FROM meter_telemetry_history") == 3 * 3 * 48
    assert await fold(levels.connection) == [], "not twice"


async def test_a_day_waits_until_its_hours_are_rolled_up(levels: Levels) -> None:
    await levels.connection.execute("UPDATE rollup_state SET complete_before = $1", days_ago(4) - HOUR)
    assert await fold(levels.connection) == DUE[:1]
    assert await levels.watermarks() == (days_ago(5), days_ago(5))


async def test_marks_of_late_hours_end_with_their_day(levels: Levels, database: Database) -> None:
    await levels.connection.execute(
        "INSERT INTO late_hours (side, device_id, hour) VALUES ('meter', 'METER-1', $1), ('meter', 'METER-1', $2)",
        days_ago(4), days_ago(3),
    )  # fmt: skip
    await fold(levels.connection)
    assert [row["hour"] for row in await database.fetch("SELECT hour FROM late_hours")] == [days_ago(3)]
    await levels.roll_up()


async def test_rows_of_a_device_without_live_status_are_not_lost(levels: Levels) -> None:
    before = await levels.readings()
    await levels.connection.execute("DELETE FROM meter_live_status WHERE meter_id = 'METER-2'")

    with pytest.raises(FoldingError, match=r"meter_telemetry_history has 144 readings of .*, its folded rows 96"):
        await fold(levels.connection)

    assert await levels.watermarks() == (days_ago(5), OLDEST)
    assert await levels.readings() == before
    await levels.show_as_live(TODAY)
    assert await fold(levels.connection) == DUE
    assert await levels.readings() == before


async def test_a_folded_row_without_rows_is_found(levels: Levels) -> None:
    await fold(levels.connection)
    await levels.connection.execute(
        "CREATE TEMPORARY TABLE another AS SELECT * FROM vehicle_days WHERE vehicle_id = 'VEH-1' AND day = $1", DUE[-1]
    )
    await levels.connection.execute("UPDATE another SET vehicle_id = 'VEH-0', day = day + 1")
    await levels.connection.execute("INSERT INTO vehicle_days SELECT * FROM another")
    with pytest.raises(FoldingError, match=r"vehicle_telemetry_history has 96 readings of .*, its folded rows 144"):
        await fold_days(levels.connection, datetime.now(UTC), after=timedelta(days=2), seconds=60)


async def test_of_two_maintenance_processes_one_folds(
    levels: Levels, database: Database, environment: dict[str, str], tmp_path: Path
) -> None:
    before, sql = await levels.readings(), sql_command(environment, database, tmp_path)
    done = await asyncio.gather(*(sql.run("maintain", "--once", FOLD_AFTER_DAYS="3") for _ in range(2)))
    assert [code for code, _, _ in done] == [0, 0], done
    assert await levels.readings() == before
    assert await levels.folded_days() == DUE
    assert (await levels.tables_of_rows())[0] == f"meter_telemetry_history_y{days_ago(3):%Ym%md%d}"


async def test_a_writer_that_is_stuck_delays_the_folding_only(levels: Levels, database: Database) -> None:
    async with locked(database, "SELECT pg_advisory_xact_lock_shared(hashtext('energy.late_before'))"):
        with pytest.raises(asyncpg.LockNotAvailableError):
            await fold(levels.connection)
        assert await levels.watermarks() == (OLDEST, OLDEST)
    assert await fold(levels.connection) == DUE


async def test_folding_begins_again_once_the_writer_has_ended(levels: Levels, database: Database) -> None:
    settings = MaintainSettings(database_url=SecretStr(database.migrator_url))

    async def waits() -> bool:
        return bool(await database.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))

    async def gave_way() -> bool:
        return not await waits()

    async with locked(database, "SELECT pg_advisory_xact_lock_shared(hashtext('energy.late_before'))"):
        task = asyncio.ensure_future(TASKS["folding"](levels.connection, datetime.now(UTC), settings))
        await until(waits, "folding waits for the writer", every=0.02)
        await until(gave_way, "folding gives way to other writers", every=0.02)
    await task
    assert await levels.folded_days() == DUE


@asynccontextmanager
async def locked(database: Database, statement: str) -> AsyncIterator[Any]:
    """A transaction that holds what a statement locks."""
    connection = await asyncpg.connect(database.migrator_url)
    try:
        async with connection.transaction():
            await connection.execute(statement)
            yield connection
    finally:
        await connection.close()


FIRST_MONTH: Final = f"y{OLDEST:%Ym%m}"
STOPS: Final = {
    "in the fold of the first side": f"LOCK TABLE meter_days_{FIRST_MONTH} IN SHARE MODE",
    "in the fold of the last side": f"LOCK TABLE register_days_{FIRST_MONTH} IN SHARE MODE",
    "before folded_before has moved": "LOCK TABLE late_hours IN SHARE MODE",
}


async def waits_for_lock(database: Database) -> bool:
    return bool(
        await database.value(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND application_name = 'energy-housekeeping' "
            "AND wait_event_type = 'Lock'",
            database.name,
        )
    )


@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("way", ["cancelled", "killed"])
async def test_an_interrupted_folding_is_repeated(
    levels: Levels, another: Any, database: Database, stop: str, way: str
) -> None:
    before = await levels.readings()
    async with locked(database, STOPS[stop]):
        working = asyncio.create_task(fold(another))
        await until(lambda: waits_for_lock(database), f"the folding waits {stop}", every=0.02)
        if way == "cancelled":
            working.cancel()
        else:
            another.terminate()
            await database.fetch(  # the session ends before another process can fold: it holds the lock of the schedule
                "SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity WHERE datname = $1 "
                "AND application_name = 'energy-housekeeping' AND wait_event_type = 'Lock'",
                database.name,
            )
        await asyncio.gather(working, return_exceptions=True)
        assert await levels.watermarks() == (days_ago(5), OLDEST)
        assert await levels.readings() == before

    assert await fold(levels.connection) == DUE
    assert await levels.readings() == before


async def test_a_detachment_that_was_interrupted_is_finished(levels: Levels, database: Database) -> None:
    before, name = await levels.readings(), f"meter_telemetry_history_y{OLDEST:%Ym%md%d}"
    await fold_days(levels.connection, days_ago(2), after=timedelta(days=3), seconds=60)
    parts = f"FOR VALUES FROM ('{OLDEST:%Y-%m-%d}') TO ('{days_ago(5):%Y-%m-%d}')"
    await levels.connection.execute(f"CREATE TABLE {name} PARTITION OF meter_telemetry_history {parts}")
    async with locked(database, "SELECT count(*) FROM meter_telemetry_history"):
        await levels.connection.execute("SET lock_timeout = '50ms'")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await levels.connection.execute(f"ALTER TABLE meter_telemetry_history DETACH PARTITION {name} CONCURRENTLY")
    await levels.connection.execute("SET lock_timeout = '30s'")

    await fold(levels.connection)

    assert name not in await levels.tables_of_rows()
    assert await levels.readings() == before


async def test_a_transaction_that_began_before_finds_the_rows(
    levels: Levels, another: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, reader = await levels.readings(), another
    async with reader.transaction(isolation="repeatable_read"):
        await reader.execute("SELECT FROM rollup_state")
        monkeypatch.setattr(folding, "SNAPSHOT_WAIT_SECONDS", 0.1)
        assert await fold(levels.connection) == DUE
        assert await Levels(reader).readings() == before
        assert f"meter_telemetry_history_y{OLDEST:%Ym%md%d}" in await levels.tables_of_rows(), "the next round drops it"
    assert await fold(levels.connection) == []
    assert await levels.readings() == before
    assert (await levels.tables_of_rows())[0] == f"meter_telemetry_history_y{days_ago(3):%Ym%md%d}"


async def test_a_late_reading_during_the_folding_is_shown_at_once_and_merged_later(
    levels: Levels, another: Any, database: Database
) -> None:
    late = OLDEST + timedelta(hours=5, minutes=7)
    async with locked(database, STOPS["in the fold of the last side"]):
        working = asyncio.create_task(fold(levels.connection))
        await until(lambda: waits_for_lock(database), "the folding waits", every=0.02)
        await database.fetch(LATE, late)
        shown = await Levels(another).readings()
    await working
    assert ("METER-2", late) in {row[:2] for row in shown["meter_readings"]}
    assert await levels.readings() == shown

    assert await merge(levels) == 1

    assert await levels.readings() == shown
    assert await database.value("SELECT count(*) FROM meter_late_readings") == 0
    assert await merge(levels) == 0


async def test_late_readings_of_days_that_are_not_folded_stay(levels: Levels, database: Database) -> None:
    await fold(levels.connection)
    for day in (*DAYS[:3], DAYS[3]):
        await database.fetch(LATE, day + timedelta(minutes=1))
    shown = await levels.readings()
    assert await merge(levels) == 3
    assert await levels.readings() == shown
    assert await database.value("SELECT array_agg(recorded_at) FROM meter_late_readings") == [
        DAYS[3] + timedelta(minutes=1)
    ]


async def test_a_merge_does_not_wait_long_for_a_writer(levels: Levels, database: Database) -> None:
    await fold(levels.connection)
    await database.fetch(LATE, OLDEST + timedelta(minutes=1))
    shown = await levels.readings()
    async with locked(database, "SELECT pg_advisory_xact_lock_shared(hashtext('energy.merging'))") as writer:
        await writer.execute(LATE, OLDEST + timedelta(minutes=2))
        with pytest.raises(asyncpg.LockNotAvailableError):
            await merge(levels)
        assert await levels.readings() == shown
    assert await merge(levels) == 1
    assert len((await levels.readings())["meter_readings"]) == len(shown["meter_readings"]) + 1
    assert await database.value("SELECT count(*) FROM meter_late_readings") == 0


async def test_months_of_rows_are_folded_day_by_day_while_readings_are_written(
    connection: Any, another: Any, database: Database
) -> None:
    levels = Levels(connection)
    oldest = (TODAY.replace(day=1) - timedelta(days=1)).replace(day=1)
    days = [oldest + timedelta(days=n) for n in range((TODAY - oldest).days)]
    await use_months(connection, oldest - timedelta(days=40))
    await levels.store(*days)
    await levels.roll_up()
    await begin(connection, only_if_empty=True)
    assert await levels.watermarks() == (None, None), "consumers of the version before still write"
    await begin(connection)
    assert await levels.watermarks() == (oldest, oldest)
    days_made = [name for name in await levels.tables_of_rows() if re.search(r"d\d\d$", name)]
    assert days_made == [], "months cover these days"
    before = await levels.readings()

    working = asyncio.create_task(fold(connection))
    written = 0
    while not working.done():
        await another.execute(
            "INSERT INTO meter_telemetry_history (meter_id, recorded_at, ingested_at, kwh_consumed_ac, voltage) "
            "VALUES ('METER-1', $1, $1, 1, 230)",
            TODAY + timedelta(seconds=written),
        )
        written += 1
    assert await working == [day.date() for day in days if day < days_ago(3)]

    after = await levels.readings()
    for view, rows in before.items():
        assert set(after[view]) >= set(rows)
    assert len(after["meter_readings"]) == len(before["meter_readings"]) + written
    month_over = TODAY.replace(day=1) <= days_ago(3)
    assert (f"meter_telemetry_history_y{oldest:%Ym%m}" not in await levels.tables_of_rows()) == month_over


async def test_a_table_that_the_version_before_had_detached_is_folded_too(connection: Any, database: Database) -> None:
    levels = Levels(connection)
    await use_months(connection, OLDEST)
    await levels.store(*DAYS)
    await levels.roll_up()
    before = await levels.readings()
    name = f"meter_telemetry_history_y{OLDEST:%Ym%m}"
    await connection.execute(f"ALTER TABLE meter_telemetry_history DETACH PARTITION {name} CONCURRENTLY")
    await begin(connection)
    assert (await levels.watermarks())[1] == OLDEST.replace(day=1)
    await fold(connection)
    assert await levels.readings() == before


async def test_an_empty_database_begins_with_days(connection: Any, database: Database) -> None:
    levels = Levels(connection)
    await drop_rows(connection)

    created = await begin(connection)

    tables = names_of_rows(days_ago(3), datetime.now(UTC), "meter_telemetry_history")
    assert await levels.tables_of_rows() == tables
    assert len(created) == 5 * len(tables)
    assert await levels.watermarks() == (days_ago(3), days_ago(3))
    state = await database.fetch(
        "SELECT late_before >= folding_before AND complete_before >= folding_before FROM rollup_state"
    )
    assert state[0][0]
    assert await begin(connection) == []
    await levels.store(days_ago(2), days_ago(1))
    await levels.roll_up()
    assert await database.value("SELECT sum(readings) FROM meter_energy_hourly WHERE meter_id = $1", METERS[0]) == 96


async def test_watermarks_begin_only_when_no_writer_relies_on_the_former_ones(
    connection: Any, database: Database
) -> None:
    levels = Levels(connection)
    await use_months(connection, TODAY)
    async with locked(database, "SELECT pg_advisory_xact_lock_shared(hashtext('energy.late_before'))"):
        await begin(connection)
        assert await levels.watermarks() == (None, None)
    await begin(connection)
    assert await levels.watermarks() == (days_ago(3), days_ago(3))
