"""Tables ahead that are replaced by narrower ones, and days whose rows lie in tables of an hour."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from sql.maintenance.folding import fold_days
from sql.maintenance.narrowing import narrow_partitions
from sql.partitions import ROWS, detach, list_partitions, month_after
from tests.integration.sql.history.levels import Levels, days_ago
from tests.support.database import Database
from tests.support.expired_months import connect_as_maintenance

pytestmark = pytest.mark.anyio

METERS: Final = "meter_telemetry_history"
TOMORROW: Final = days_ago(-1)
HOUR: Final = timedelta(hours=1)
AHEAD: Final = (
    f"INSERT INTO {METERS} (meter_id, recorded_at, kwh_consumed_ac, voltage) VALUES ('M', $1::timestamptz, 1, 1)"
)


@pytest.fixture
async def levels(database: Database) -> AsyncIterator[Levels]:
    """Six days of rows in partitions of a day."""
    connection = await connect_as_maintenance(database)
    levels = Levels(connection)
    await levels.use_days(days_ago(6))
    yield levels
    connection.terminate()


async def widths(connection: Any, parent: str, day: datetime) -> list[timedelta]:
    """Of the attached tables of a day."""
    return [
        table.closes - table.opens
        for table in await list_partitions(connection, [parent])
        if table.is_attached and table.opens < day + timedelta(days=1) and table.closes > day
    ]


async def narrow(connection: Any, now: datetime | None = None) -> list[str]:
    return await narrow_partitions(connection, now or days_ago(0) + HOUR, rows_a_day=100)


async def use_hours(connection: Any, *days: datetime) -> None:
    """Tables of an hour for these days, which are empty."""
    for table in await list_partitions(connection, ROWS):
        if table.opens in days:
            await connection.execute(f'DROP TABLE "{table.name}"')
    await connection.execute(
        "SELECT create_history_partition(parent, opens + number * interval '1 hour', 'hour') "
        "FROM unnest($1::text[]) AS parent, unnest($2::timestamptz[]) AS opens, generate_series(0, 23) AS number",
        list(ROWS), list(days),
    )  # fmt: skip


async def test_days_of_a_large_fleet_become_hours_ahead_of_time(levels: Levels) -> None:
    """Meters have 144 rows a day, vehicles 96."""
    await levels.store(days_ago(1))
    await levels.connection.execute(f"ANALYZE {METERS}; ANALYZE vehicle_telemetry_history")
    narrowed = await narrow(levels.connection)

    assert {name.partition("_y")[0] for name in narrowed if "d" in name.partition("_y")[2]} == {METERS}
    assert await widths(levels.connection, METERS, TOMORROW) == [HOUR] * 24
    assert await widths(levels.connection, METERS, days_ago(0)) == [24 * HOUR], "readings arrive for it"
    assert await widths(levels.connection, "vehicle_telemetry_history", TOMORROW) == [24 * HOUR]
    for instant in (TOMORROW - timedelta(microseconds=1), TOMORROW, TOMORROW + 24 * HOUR - timedelta(microseconds=1)):
        await levels.connection.execute(AHEAD, instant)
    assert await narrow(levels.connection) == []
    assert (
        await levels.connection.fetch("SELECT * FROM ensure_history_partitions(now(), now() + interval '62 days')")
        == []
    )


async def test_a_table_with_rows_and_one_whose_replacement_was_interrupted(levels: Levels) -> None:
    await levels.store(days_ago(1))
    await levels.connection.execute(f"ANALYZE {METERS}; " + AHEAD.replace("$1", f"'{TOMORROW}'"))
    tables = await list_partitions(levels.connection, [METERS])
    await detach(levels.connection, [table for table in tables if TOMORROW <= table.opens <= TOMORROW + 24 * HOUR])

    await narrow(levels.connection)

    assert await widths(levels.connection, METERS, TOMORROW) == [24 * HOUR]
    assert await widths(levels.connection, METERS, TOMORROW + 24 * HOUR) == [HOUR] * 24
    assert await levels.connection.fetchval(f"SELECT count(*) FROM {METERS} WHERE recorded_at >= $1", TOMORROW) == 1


async def test_a_month_becomes_days_before_it_begins(levels: Levels) -> None:
    last = max(table.opens for table in await list_partitions(levels.connection, [METERS]))
    assert await widths(levels.connection, METERS, last) == [
        datetime.combine(month_after(last.date()), last.timetz()) - last
    ]
    await narrow(levels.connection, last - timedelta(days=4))
    assert len(await widths(levels.connection, METERS, last)) == 1
    await narrow(levels.connection, last - timedelta(days=2))
    for parent in ROWS:
        assert await widths(levels.connection, parent, last) == [timedelta(days=1)]


async def test_days_in_tables_of_an_hour_are_folded(levels: Levels) -> None:
    days = [days_ago(days) for days in range(6, 0, -1)]
    await use_hours(levels.connection, days[0], days[2], days[4])
    await levels.store(*days)
    await levels.roll_up()
    before = await levels.readings()
    detached = [table for table in await list_partitions(levels.connection, ROWS) if table.opens == days[0] + 5 * HOUR]
    await detach(levels.connection, detached)

    assert await fold_days(levels.connection, datetime.now(UTC), after=timedelta(days=2), seconds=60) == [
        day.date() for day in days[:4]
    ]

    assert await levels.readings() == before
    assert {table.opens for table in await list_partitions(levels.connection, ROWS) if table.closes <= days_ago(0)} == {
        *(days[4] + number * HOUR for number in range(24)), days[5],
    }  # fmt: skip
