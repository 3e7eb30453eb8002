"""Days folded into one row a device: the same readings in every view of them, before and after."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any, Final

import asyncpg
import pytest

from tests.support.database import Database

pytestmark = pytest.mark.anyio

TODAY: Final = datetime.now(UTC).date()
DAY: Final = TODAY - timedelta(days=10)
YESTERDAY: Final = DAY - timedelta(days=1)
MIDNIGHT: Final = datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC)
MINUTE: Final = timedelta(minutes=1)
MICROSECOND: Final = timedelta(microseconds=1)
DAY_LONG: Final = timedelta(days=1)
GAP: Final = range(300, 420)  # minutes of the day without a reading
Rows = list[tuple[Any, ...]]
FILL: Final = """
INSERT INTO {table} ({value}, voltage, meter_id, recorded_at)
SELECT 1, 230, 'METER-' || meter, $1::timestamptz + minute * interval '1 minute'
FROM generate_series(1, 20) AS meter, generate_series(0, $2 - 1) AS minute"""


class History:
    """Readings of three devices, in one view or another."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def store(self) -> None:
        """A meter, a vehicle and a register with a gap, jitter, two readings in a minute, and both ends of a day."""
        random, instants = Random(7), _instants()
        rows = [(n, at, at + timedelta(microseconds=random.randrange(90_000_000))) for n, at in enumerate(instants)]
        await self._copy(
            "meter_telemetry_history",
            ("meter_id", "recorded_at", "ingested_at", "kwh_consumed_ac", "voltage", "derived"),
            [("M", at, to, random.choice((0.0, 0.123456)), 230 + n % 9 / 10, n % 7 == 0 or None) for n, at, to in rows],
        )
        await self._copy(
            "vehicle_telemetry_history",
            ("vehicle_id", "recorded_at", "ingested_at", "kwh_delivered_dc", "soc", "battery_temp"),
            [("V", at, to, random.random(), max(0.0, 80 - n / 20), 20 + round(n / 100, 1)) for n, at, to in rows],
        )
        await self._copy(
            "meter_register_history",
            (
                "meter_id",
                "recorded_at",
                "ingested_at",
                "kwh_register",
                "voltage",
                "kwh_high",
                "kwh_before",
                "before_at",
            ),
            [
                ("M", at, to, n / 8, 230.0, *((n / 8 + 1, n / 8, at - MINUTE) if n % 5 else [None] * 3))
                for n, at, to in rows
            ],
        )

    async def _copy(self, table: str, columns: tuple[str, ...], rows: Rows) -> None:
        await self._connection.copy_records_to_table(table, records=rows, columns=columns)

    async def fold(self, *days: date) -> None:
        """Folds days, each device on its own."""
        for day in days:
            for function, device in (("fold_meter_day", "M"), ("fold_vehicle_day", "V"), ("fold_register_day", "M")):
                await self._connection.execute(f"SELECT {function}('{device}', $1)", day)

    async def move_watermarks(self, instant: datetime) -> None:
        """From now on days before `instant` are answered by the folded rows."""
        await self._connection.execute("UPDATE rollup_state SET folding_before = $1, folded_before = $1", instant)

    async def readings(self) -> dict[str, Rows]:
        """All columns of the three views, oldest reading first; `ingested_at` to the millisecond."""
        found = {}
        for view in ("meter_readings", "vehicle_readings", "register_readings"):
            rows = await self._connection.fetch(f"SELECT * FROM {view} ORDER BY recorded_at")
            found[view] = [
                tuple((dict(row) | {"ingested_at": _milliseconds(row["ingested_at"])}).values()) for row in rows
            ]
        return found


def _instants() -> list[datetime]:
    random = Random(8)
    every_minute = [
        MIDNIGHT + n * MINUTE + timedelta(microseconds=random.randrange(900_000)) for n in range(1440) if n not in GAP
    ]
    ends = [MIDNIGHT, MIDNIGHT + DAY_LONG - MICROSECOND]
    other_days = [MIDNIGHT - MICROSECOND, MIDNIGHT + DAY_LONG]
    return sorted([*every_minute, MIDNIGHT + timedelta(seconds=7), *ends, *other_days])


def _milliseconds(instant: datetime) -> datetime:
    return instant.replace(microsecond=instant.microsecond // 1000 * 1000)


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Any]:
    opened = await asyncpg.connect(database.migrator_url)
    yield opened
    await opened.close()


@pytest.fixture
async def history(connection: Any) -> History:
    stored = History(connection)
    await stored.store()
    return stored


async def test_folded_days_show_the_same_readings(history: History) -> None:
    before = await history.readings()
    assert len(before["meter_readings"]) == 1440 - 120 + 5

    await history.fold(YESTERDAY, DAY)
    assert await history.readings() == before, "until the watermark moves, the rows answer"
    await history.move_watermarks(MIDNIGHT + DAY_LONG)

    assert await history.readings() == before


async def test_late_readings_are_shown_at_once_and_after_they_are_merged(history: History, connection: Any) -> None:
    await history.fold(YESTERDAY, DAY)
    await history.move_watermarks(MIDNIGHT + DAY_LONG)
    in_the_gap = MIDNIGHT + timedelta(hours=5, minutes=30)
    days_ago = MIDNIGHT - timedelta(days=3)
    before = await history.readings()
    await connection.execute(
        "INSERT INTO meter_late_readings (meter_id, recorded_at, kwh_consumed_ac, voltage) "
        "VALUES ('M', $1, 1, 230), ('M', $2, 2, 230)",
        in_the_gap, days_ago,
    )  # fmt: skip
    await connection.execute(
        "INSERT INTO vehicle_late_readings (vehicle_id, recorded_at, kwh_delivered_dc, soc, battery_temp) "
        "VALUES ('V', $1, 1, 50, 20)",
        in_the_gap,
    )  # fmt: skip
    late = await history.readings()
    assert [len(late[view]) - len(before[view]) for view in late] == [2, 1, 0]

    await history.fold(days_ago.date(), DAY)

    assert await history.readings() == late
    assert await connection.fetchval("SELECT count(*) FROM meter_late_readings") == 0
    assert await connection.fetchval("SELECT readings FROM meter_days WHERE day = $1", days_ago.date()) == 1


async def test_a_late_version_of_a_reading_replaces_it(history: History, connection: Any) -> None:
    await history.fold(YESTERDAY, DAY)
    await history.move_watermarks(MIDNIGHT + DAY_LONG)
    at = MIDNIGHT + timedelta(seconds=7)
    await connection.execute(
        "INSERT INTO meter_late_readings (meter_id, recorded_at, kwh_consumed_ac, voltage, derived, replaces) "
        "VALUES ('M', $1, 9.5, 230, true, true)",
        at,
    )
    await connection.execute(
        "INSERT INTO register_late_readings (meter_id, recorded_at, kwh_register, voltage, kwh_high, replaces) "
        "VALUES ('M', $1, 77, 230, 78, true)",
        at,
    )
    expected = [(9.5, 77.0, 78.0)]
    query = (
        "SELECT kwh_consumed_ac, kwh_register, kwh_high FROM meter_readings JOIN register_readings USING (meter_id, recorded_at) "
        "WHERE recorded_at = $1"
    )
    assert [tuple(row) for row in await connection.fetch(query, at)] == expected
    shown = await history.readings()

    await history.fold(DAY)

    assert [tuple(row) for row in await connection.fetch(query, at)] == expected
    assert await history.readings() == shown


async def test_each_hour_of_a_folded_day_has_its_sums(history: History, connection: Any) -> None:
    hourly = (
        "SELECT extract(hour FROM recorded_at AT TIME ZONE 'UTC')::integer AS hour, count(*), sum(kwh_delivered_dc), "
        "sum(battery_temp), max(battery_temp), min(soc), max(soc) FROM vehicle_readings WHERE day = $1 GROUP BY 1 ORDER BY 1"
    )
    expected = [tuple(row) for row in await connection.fetch(hourly, DAY)]
    await history.fold(DAY)

    rows = await connection.fetch(
        "SELECT hour - 1, sums.* FROM vehicle_days CROSS JOIN LATERAL unnest(hourly_readings, "
        "hourly_kwh_delivered_dc, hourly_battery_temp_sum, hourly_battery_temp_max, "
        "hourly_soc_min, hourly_soc_max) "
        "WITH ORDINALITY AS sums (n, kwh, temp, temp_max, low, high, hour) "
        "WHERE day = $1 ORDER BY hour",
        DAY,
    )

    assert len(rows) == 24
    assert [tuple(row)[:-1] for row in rows if row["n"]] == [pytest.approx(each, rel=1e-12) for each in expected]
    assert [row["kwh"] for row in rows if not row["n"]] == [None, None]


async def test_a_row_that_does_not_give_back_its_readings_is_not_stored(history: History, connection: Any) -> None:
    await connection.execute("ALTER FUNCTION decode_series(number_series) RENAME TO decode_series_well")
    await connection.execute(
        "CREATE FUNCTION decode_series(series number_series) RETURNS double precision[] LANGUAGE sql IMMUTABLE STRICT "
        "RETURN trim_array(decode_series_well(series), 1)"
    )
    for function, device in (("fold_meter_day", "M"), ("fold_vehicle_day", "V"), ("fold_register_day", "M")):
        with pytest.raises(asyncpg.DataError, match="are not those that were stored"):
            await connection.execute(f"SELECT {function}('{device}', $1)", DAY)

    assert await connection.fetchval("SELECT count(*) FROM meter_days") == 0


async def test_a_device_without_readings_on_the_day_gets_no_row(history: History, connection: Any) -> None:
    assert await connection.fetchval("SELECT fold_meter_day('OTHER', $1)", DAY) == 0
    assert await connection.fetchval("SELECT count(*) FROM meter_days") == 0


@pytest.mark.parametrize(
    ("view", "history", "late", "value"),
    [
        ("meter_readings", "meter_telemetry_history", "meter_late_readings", "kwh_consumed_ac"),
        ("register_readings", "meter_register_history", "register_late_readings", "kwh_register"),
    ],
)
async def test_a_folded_day_is_read_in_memory_however_many_late_readings_there_are(
    connection: Any, view: str, history: str, late: str, value: str
) -> None:
    await connection.execute(FILL.format(table=history, value=value), MIDNIGHT, 1440)
    hours_before = MIDNIGHT - timedelta(hours=7) + timedelta(seconds=7)
    await connection.execute(FILL.format(table=late, value=value), hours_before, 480)
    fold = "SELECT fold_meter_day(meter, $1), fold_register_day(meter, $1) FROM unnest($2::text[]) AS meter"
    await connection.execute(fold, DAY, [f"METER-{number}" for number in range(1, 21)])
    await connection.execute("UPDATE rollup_state SET folding_before = $1, folded_before = $1", MIDNIGHT + DAY_LONG)
    await connection.execute("ANALYZE")

    explain = (
        f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM {view} WHERE meter_id = 'METER-7' AND day = '{DAY}'"
    )
    [plan] = json.loads(await connection.fetchval(explain))

    assert plan["Plan"]["Actual Rows"] == 1440 + 60
    assert plan["Plan"]["Temp Written Blocks"] == 0
