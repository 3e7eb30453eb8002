"""Questions over all levels of history: at any state of maintenance, the plain readings give the same answer.

Rows lie in tables of a day and of an hour. What is archived leaves the database, and the files hold exactly that.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import fsum
from pathlib import Path
from typing import Any, Final, Literal, get_args

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from sql.archive.manifest import read_manifest
from sql.archive.parquet import read_batches
from sql.maintenance.retention import drop_expired_months
from sql.maintenance.rollups import refresh_rollups
from sql.partitions import EXPIRY_MARGIN, HISTORY_OF, ROWS, list_partitions, midnight
from sql.queries import queries
from tests.support.database import Database
from tests.support.database_rows import fold_days, merge_late_readings
from tests.support.expired_months import connect_as_maintenance

# without shrinking, which takes many minutes here: the story of a failure is short enough
pytestmark = pytest.mark.anyio
PROPERTY: Final = settings(
    max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), phases=(Phase.reuse, Phase.generate)
)
DAYS: Final = 4
PAGE: Final = 3  # readings
DAY, HOUR, MICROSECOND = timedelta(days=1), timedelta(hours=1), timedelta(microseconds=1)
END: Final = midnight(datetime.now(UTC).replace(day=1) - timedelta(days=1)).replace(day=1)  # of a month
BEGIN: Final = END - DAYS * DAY
Kind = Literal["roll up", "begin to fold", "fold", "drop", "merge", "archive"]
Step = tuple[Kind, int]

# half of the instants lie in few hours, and many at their very ends
instants = st.builds(
    lambda day, hour, offset: BEGIN + day * DAY + hour * HOUR + offset,
    st.integers(0, DAYS - 1),
    st.sampled_from([0, 1, 12, 22, 23]) | st.integers(0, 23),
    st.sampled_from([timedelta(0), HOUR - MICROSECOND, timedelta(minutes=30)])
    | st.integers(0, 3_599_999_999).map(lambda microseconds: timedelta(microseconds=microseconds)),
)
energies = st.integers(0, 10_000).map(lambda number: number / 1000)
steps = st.tuples(st.sampled_from(get_args(Kind)), st.integers(0, DAYS))
periods = st.tuples(instants, instants).filter(lambda pair: pair[0] != pair[1]).map(lambda pair: (min(pair), max(pair)))


@dataclass
class Chapter:
    """Readings that arrive, new versions of derived ones that are stored, and what maintenance does then."""

    readings: dict[datetime, float]
    changes: list[tuple[int, float]]
    steps: list[Step]
    periods: list[tuple[datetime, datetime]]


stories = st.lists(
    st.builds(
        Chapter,
        readings=st.dictionaries(instants, energies, max_size=25),
        changes=st.lists(st.tuples(st.integers(0, 200), energies), max_size=3),
        steps=st.lists(steps, max_size=3),
        periods=st.lists(periods, min_size=1, max_size=4),
    ),
    min_size=1,
    max_size=6,
)


@dataclass
class Levels:
    """One meter and its vehicle in the database, and the plain list of what was written."""

    connection: Any
    archive: Path
    meter: dict[datetime, float] = field(default_factory=dict)
    vehicle: dict[datetime, float] = field(default_factory=dict)

    async def write(self, readings: dict[datetime, float]) -> None:
        """As a consumer does: readings of days that are being folded are late ones, others mark hours that are rolled up."""
        state = await self._state()
        for at, kwh in readings.items():
            if at in self.meter:
                continue
            table = "late_readings" if at < state["folding_before"] else "telemetry_history"
            await self.connection.execute(
                f"INSERT INTO meter_{table} (meter_id, recorded_at, kwh_consumed_ac, voltage, derived) "
                "VALUES ('M', $1, $2, 230, true)", at, kwh,
            )  # fmt: skip
            await self.connection.execute(
                f"INSERT INTO vehicle_{table} (vehicle_id, recorded_at, kwh_delivered_dc, soc, battery_temp) "
                "VALUES ('V', $1, $2, $2, $2)", at, kwh,
            )  # fmt: skip
            if table == "telemetry_history" and at < state["late_before"]:
                await self._mark(at)
            self.meter[at] = self.vehicle[at] = kwh

    async def change(self, number: int, kwh: float) -> None:
        """Another version of a derived reading of the meter."""
        if not self.meter:
            return
        at = sorted(self.meter)[number % len(self.meter)]
        self.meter[at] = kwh
        state = await self._state()
        if at >= state["folding_before"]:
            await self.connection.execute(
                "UPDATE meter_telemetry_history SET kwh_consumed_ac = $2 WHERE recorded_at = $1", at, kwh
            )
            if at < state["late_before"]:
                await self._mark(at)
            return
        await self.connection.execute(
            "INSERT INTO meter_late_readings (meter_id, recorded_at, kwh_consumed_ac, voltage, derived, replaces) "
            "VALUES ('M', $1, $2, 230, true, true) "
            "ON CONFLICT (meter_id, recorded_at) DO UPDATE SET kwh_consumed_ac = excluded.kwh_consumed_ac",
            at, kwh,
        )  # fmt: skip

    async def _mark(self, at: datetime) -> None:
        hour = at.replace(minute=0, second=0, microsecond=0)
        await self.connection.execute(
            "INSERT INTO late_hours (side, device_id, hour) VALUES ('meter', 'M', $1), ('vehicle', 'V', $1)", hour
        )

    async def maintain(self, step: str, days: int) -> None:
        """One step of maintenance, as far as the order of the watermarks allows it."""
        state, midnight = await self._state(), BEGIN + days * DAY
        if step == "roll up":
            await self._roll_up(midnight + 7 * HOUR)
        elif step == "begin to fold" and state["folding_before"] < midnight:
            await self._roll_up(midnight)
            await self.connection.execute("UPDATE rollup_state SET folding_before = $1", midnight)
            for kind, device in (("meter", "M"), ("vehicle", "V")):
                await self.connection.execute(f"SELECT fold_{kind}_day($1, utc_day($2))", device, midnight - DAY)
        elif step == "fold" and state["folding_before"] <= midnight:
            await self._roll_up(midnight)
            await fold_days(self.connection, midnight, keep_rows=True)
        elif step == "drop" and state["folded_before"] > BEGIN - DAY:
            await fold_days(self.connection, state["folded_before"])
        elif step == "merge":
            await merge_late_readings(self.connection)
        elif step == "archive" and (state["folded_before"] == END or days == DAYS):
            await self.maintain("fold", DAYS)
            await self._archive()

    async def _archive(self) -> None:
        """Retention, when the month has expired: its readings are in new files, and no others are."""
        before = set(self.archive.glob("*"))
        expired = END + EXPIRY_MARGIN + DAY
        assert await drop_expired_months(self.connection, expired, 1, self.archive) == [f"{BEGIN:%Y-%m}"]
        files = {
            file.history: directory / file.file
            for directory in set(self.archive.glob("2*")) - before
            for file in read_manifest(directory).manifest.files
        }
        for history, energy, plain in (
            ("meter_telemetry_history", "kwh_consumed_ac", self.meter),
            ("vehicle_telemetry_history", "kwh_delivered_dc", self.vehicle),
        ):
            batches = read_batches(files[history], ["recorded_at", energy]) if history in files else ()
            found = [(row["recorded_at"], row[energy]) for batch in batches for row in batch.to_pylist()]
            assert found == sorted(plain.items())
            plain.clear()
        await self.connection.execute("SELECT ensure_history_partitions($1, $2)", BEGIN, END)

    async def _roll_up(self, before: datetime) -> None:
        state = await self._state()
        await refresh_rollups(self.connection, max(before, state["late_before"]), grace=timedelta(0))

    async def _state(self) -> dict[str, datetime]:
        names = ("late_before", "complete_before", "folding_before", "folded_before")
        columns = ", ".join(f"greatest({name}, $1) AS {name}" for name in names)
        return dict(await self.connection.fetchrow(f"SELECT {columns} FROM rollup_state", BEGIN - DAY))

    async def check(self, opens: datetime, closes: datetime) -> None:
        """Energy and battery of a period, and every reading of it, page by page."""
        kwh = [value for at, value in self.meter.items() if opens <= at < closes]
        (found,) = [
            row
            async for row in queries.meter_energy_of(self.connection, meter_ids=["M"], opens=[opens], closes=[closes])
        ]
        assert (found["readings"], found["kwh"]) == (len(kwh), pytest.approx(fsum(kwh)))
        values = [value for at, value in self.vehicle.items() if opens <= at < closes]
        (energy,) = [
            row async for row in queries.energy_of(self.connection, vehicle_ids=["V"], opens=[opens], closes=[closes])
        ]
        assert (energy["dc_points"], energy["dc_kwh"]) == (len(values), pytest.approx(fsum(values)))
        assert (energy["ac_points"], energy["ac_kwh"]) == (len(kwh), pytest.approx(fsum(kwh)))
        extremes = (energy["battery_temp_max"], energy["soc_min"], energy["soc_max"])
        assert extremes == ((max(values), min(values), max(values)) if values else (None, None, None))
        if values:
            assert energy["average_battery_temp"] == pytest.approx(fsum(values) / len(values))
        for query, device, plain in (
            (queries.meter_readings, {"meter_id": "M"}, self.meter),
            (queries.vehicle_readings, {"vehicle_id": "V"}, self.vehicle),
        ):
            assert await self._pages(query, device, opens, closes) == sorted(
                (at, value) for at, value in plain.items() if opens <= at < closes
            )

    async def _pages(
        self, query: Any, device: dict[str, str], opens: datetime, closes: datetime
    ) -> list[tuple[datetime, float]]:
        found: list[tuple[datetime, float]] = []
        while True:
            rows = query(self.connection, opens=opens, closes=closes, row_limit=PAGE, **device)
            page = [(row[0], row[1]) async for row in rows]
            found += page
            if len(page) < PAGE:
                return found
            opens = page[-1][0] + MICROSECOND


async def _follow(connection: Any, story: list[Chapter], archive: Path) -> None:
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(
            "INSERT INTO vehicle_meter_assignments VALUES ('V', 'M', '[2020-01-01,)', 'test'); "
            "INSERT INTO meter_live_status VALUES ('M', 1, 230, now(), now()); "
            "INSERT INTO vehicle_live_status VALUES ('V', 50, 1, 20, now(), now())"
        )
        await _follow_chapters(Levels(connection, archive), story)
    finally:
        await transaction.rollback()


async def _follow_chapters(levels: Levels, story: list[Chapter]) -> None:
    for chapter in story:
        await levels.write(chapter.readings)
        for number, kwh in chapter.changes:
            await levels.change(number, kwh)
        for step, days in chapter.steps:
            await levels.maintain(step, days)
            event(step)
        for opens, closes in [*chapter.periods, (BEGIN, END)]:
            await levels.check(opens, closes)


@pytest.fixture
def run(database: Database) -> Iterator[Any]:
    """Runs a coroutine function with a connection of its own, between the examples of a property test."""
    with asyncio.Runner() as runner:
        connection = runner.run(connect_as_maintenance(database))
        runner.run(_use_days_and_hours(connection))
        yield lambda follow, *arguments: runner.run(follow(connection, *arguments))
        runner.run(connection.close())


async def _use_days_and_hours(connection: Any) -> None:
    """Rows of one day lie in tables of an hour, those of the others in tables of a day; no older month has a table."""
    for table in await list_partitions(connection, (*ROWS, *HISTORY_OF)):
        if table.closes < END or (table.closes == END and table.parent in ROWS):
            await connection.execute(f'DROP TABLE "{table.name}"')
    for number in range(DAYS):
        unit, tables = ("hour", 24) if number == 1 else ("day", 1)
        await connection.execute(
            "SELECT create_history_partition(parent, $2::timestamptz + number * interval '1 hour', $3) "
            "FROM unnest($1::text[]) AS parent, generate_series(0, $4 - 1) AS number",
            list(ROWS), BEGIN + number * DAY, unit, tables,
        )  # fmt: skip


def test_any_order_of_writes_and_maintenance_answers_like_the_plain_readings(
    run: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    @PROPERTY
    @given(story=stories)
    def check(story: list[Chapter]) -> None:
        run(_follow, story, tmp_path_factory.mktemp("archive"))

    check()


WRITE = """
INSERT INTO meter_{table} (meter_id, recorded_at, kwh_consumed_ac, voltage, derived)
SELECT 'M' || n % 3, $1::timestamptz + n * interval '1 minute', 1, 230, CASE WHEN n % 3 = 0 THEN true END
FROM generate_series(1, 30) AS n
"""
LIVE = (
    "INSERT INTO meter_live_status SELECT 'M' || n, 1, 230, now(), now() FROM generate_series(0, 2) AS n; "
    "INSERT INTO vehicle_live_status VALUES ('V', 50, 1, 20, now(), now())"
)
WRITE_VEHICLES = """
INSERT INTO vehicle_{table} (vehicle_id, recorded_at, kwh_delivered_dc, soc, battery_temp)
SELECT 'V', $1::timestamptz + n * interval '1 minute', 1, 50, 20 FROM generate_series(1, 10) AS n
"""
WRITE_REGISTERS = """
INSERT INTO {table} (meter_id, recorded_at, kwh_register, voltage)
SELECT 'M0', $1::timestamptz + n * interval '1 minute', n, 230 FROM generate_series(1, 10) AS n
"""
COUNT_WRITTEN = """
INSERT INTO kafka_offsets
    (consumer_group, topic, partition, start_offset, next_offset, records_consumed, records_written)
SELECT 'g', topic, 0, 0, 1, number, number FROM unnest(ARRAY['m', 'v', 'r'], ARRAY[20, 10, 10]) AS written (topic, number)
ON CONFLICT (consumer_group, topic, partition) DO UPDATE SET
    records_consumed = kafka_offsets.records_consumed + excluded.records_consumed,
    records_written = kafka_offsets.records_written + excluded.records_written
"""
REPLACE = """
INSERT INTO meter_late_readings (meter_id, recorded_at, kwh_consumed_ac, voltage, derived, replaces)
SELECT meter_id, recorded_at, 7, voltage, derived, true FROM meter_readings WHERE derived AND recorded_at < $1
"""


async def _write(connection: Any, at: datetime, *, late: bool = False) -> None:
    """20 readings of meters and 10 derived ones, 10 of a vehicle, 10 registers; the ledger counts them as written."""
    meter, register = (
        ("late_readings", "register_late_readings") if late else ("telemetry_history", "meter_register_history")
    )
    await connection.execute(WRITE.format(table=meter), at)
    await connection.execute(WRITE_VEHICLES.format(table=meter), at)
    await connection.execute(WRITE_REGISTERS.format(table=register), at)
    await connection.execute(COUNT_WRITTEN)


async def _rows_stored(connection: Any) -> dict[str, int]:
    """The ledger's count of stored readings by topic."""
    topics = {"meter_topics": ["m"], "vehicle_topics": ["v"], "assignment_topics": ["a"], "register_topics": ["r"]}
    rows = [row async for row in queries.ledger(connection, **topics)]
    assert all(row["adds_up"] for row in rows), rows
    return {row["topic"]: row["rows_stored"] for row in rows}


@pytest.mark.parametrize("keep_rows", [True, False], ids=["rows-kept", "rows-dropped"])
async def test_the_ledger_counts_each_reading_once_wherever_it_is(database: Database, keep_rows: bool) -> None:
    connection = await asyncpg.connect(database.migrator_url)
    try:
        await connection.execute(LIVE)
        for day in range(DAYS):
            await _write(connection, BEGIN + day * DAY)
        assert await _rows_stored(connection) == {"m": 80, "v": 40, "r": 40}
        await fold_days(connection, BEGIN + 2 * DAY, keep_rows=keep_rows)
        assert await _rows_stored(connection) == {"m": 80, "v": 40, "r": 40}
        await _write(connection, BEGIN + HOUR, late=True)
        await connection.execute(REPLACE, BEGIN + HOUR)
        assert await _rows_stored(connection) == {"m": 100, "v": 50, "r": 50}
        await merge_late_readings(connection)
        assert await _rows_stored(connection) == {"m": 100, "v": 50, "r": 50}
        await fold_days(connection, END, keep_rows=keep_rows)
        assert await _rows_stored(connection) == {"m": 100, "v": 50, "r": 50}
    finally:
        await connection.close()
