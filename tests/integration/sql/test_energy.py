"""Energy of vehicles and meters: assignments, gaps and clock skew, with the same totals from each level of history."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from sql.analytics.efficiency import Efficiency, EnergySums, Thresholds, assess_efficiency
from sql.maintenance.rollups import refresh_rollups
from sql.queries import queries
from tests.support.database import Database
from tests.support.database_rows import fold_days, merge_late_readings

pytestmark = pytest.mark.anyio

DAY = timedelta(hours=24)
BEGIN = (datetime.now(UTC) - timedelta(days=5)).replace(hour=7, minute=20, second=0, microsecond=0)
END = BEGIN + DAY
LATE_READINGS = "SELECT (SELECT count(*) FROM meter_late_readings) + (SELECT count(*) FROM vehicle_late_readings)"
Found = list[tuple[Any, Efficiency]]
LIMITS = Thresholds(fault_below=85, degraded_below=90, min_energy_kwh=1, min_coverage=0.8, max_reading_gap=0.02)


class Fleet:
    """Inserts readings and assignments, and queries energy before and after a refresh of the rollups."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def meter(self, meter_id: str, kwh: float, opens: datetime = BEGIN, closes: datetime = END) -> None:
        """A reading a minute of [opens, closes)."""
        await self._connection.execute(
            "INSERT INTO meter_telemetry_history (meter_id, recorded_at, kwh_consumed_ac, voltage) "
            "SELECT $1, at, $2, 240 FROM generate_series($3::timestamptz, $4::timestamptz - interval '1 s', '1 minute') AS at",
            meter_id, kwh, opens, closes,
        )  # fmt: skip
        await self._connection.execute(
            "INSERT INTO meter_live_status SELECT $1, $2, 240, max(recorded_at), now() FROM meter_telemetry_history "
            "WHERE meter_id = $1 HAVING count(*) > 0 ON CONFLICT (meter_id) DO UPDATE SET recorded_at = excluded.recorded_at",
            meter_id, kwh,
        )  # fmt: skip

    async def vehicle(self, vehicle_id: str, kwh: float, opens: datetime = BEGIN, closes: datetime = END) -> None:
        """A reading a minute of [opens, closes)."""
        await self._connection.execute(
            "INSERT INTO vehicle_telemetry_history (vehicle_id, recorded_at, kwh_delivered_dc, soc, battery_temp) "
            "SELECT $1, at, $2, 50, 25 FROM generate_series($3::timestamptz, $4::timestamptz - interval '1 s', '1 minute') AS at",
            vehicle_id, kwh, opens, closes,
        )  # fmt: skip
        await self._connection.execute(
            "INSERT INTO vehicle_live_status SELECT $1, 50, $2, 25, max(recorded_at), now() FROM vehicle_telemetry_history "
            "WHERE vehicle_id = $1 HAVING count(*) > 0 ON CONFLICT (vehicle_id) DO UPDATE SET recorded_at = excluded.recorded_at",
            vehicle_id, kwh,
        )  # fmt: skip

    async def assign(self, vehicle_id: str, meter_id: str, opens: datetime, closes: datetime | None = None) -> None:
        await self._connection.execute(
            "INSERT INTO vehicle_meter_assignments VALUES ($1, $2, tstzrange($3, $4), 'test')",
            vehicle_id, meter_id, opens, closes,
        )  # fmt: skip

    async def refresh(self) -> None:
        """Roll up all hours that have ended."""
        await refresh_rollups(self._connection, datetime.now(UTC), grace=timedelta(0))

    async def day(self, *vehicle_ids: str, end: datetime = END) -> list[tuple[Any, Efficiency]]:
        """24 hours of vehicles up to `end`, from rows, rollups, folded days and late readings, which must be equal."""
        before = await self._query(vehicle_ids, end)
        await self.refresh()
        after = await self._query(vehicle_ids, end)
        _assert_equal(after, before, "rollups")
        for every in (None, 7):
            for keep_rows in (True, False):
                await self._compare_folded(before, vehicle_ids, end, late_every=every, keep_rows=keep_rows)
        return after

    async def _compare_folded(
        self, expected: Found, vehicle_ids: tuple[str, ...], end: datetime, *, late_every: int | None, keep_rows: bool
    ) -> None:
        """Folds one day of the period, then the other, then merges the readings that came late; nothing of it remains."""
        transaction = self._connection.transaction()
        await transaction.start()
        if late_every:
            await self._make_late(late_every, before=_midnight(end) + DAY)
        for midnight in (_midnight(end), _midnight(end) + DAY):
            await fold_days(self._connection, midnight, keep_rows=keep_rows)
            _assert_equal(await self._query(vehicle_ids, end), expected, f"folded before {midnight}")
        await merge_late_readings(self._connection)
        assert await self._connection.fetchval(LATE_READINGS) == 0
        _assert_equal(await self._query(vehicle_ids, end), expected, "merged")
        await transaction.rollback()

    async def _make_late(self, every: int, *, before: datetime) -> None:
        """Every so manieth reading is a late one, as if it had come after the fold."""
        for side in ("meter", "vehicle"):
            await self._connection.execute(
                f"WITH late AS (DELETE FROM {side}_telemetry_history WHERE recorded_at < $1 "
                f"AND extract(minute FROM recorded_at)::integer % $2 = 0 RETURNING *) "
                f"INSERT INTO {side}_late_readings SELECT * FROM late",
                before, every,
            )  # fmt: skip

    async def _query(self, vehicle_ids: tuple[str, ...], end: datetime) -> Found:
        number = len(vehicle_ids)
        rows = queries.energy_of(
            self._connection, vehicle_ids=list(vehicle_ids), opens=[end - DAY] * number, closes=[end] * number
        )
        return [(row, assess_efficiency(EnergySums.from_row(row), LIMITS)) async for row in rows]


def _assert_equal(found: Found, expected: Found, level: str) -> None:
    for (row, efficiency), (expected_row, expected_efficiency) in zip(found, expected, strict=True):
        assert _rounded(row) == _rounded(expected_row), level
        assert efficiency == expected_efficiency, level


def _midnight(instant: datetime) -> datetime:
    return instant.replace(hour=0, minute=0, second=0, microsecond=0)


def _rounded(row: Any) -> dict[str, Any]:
    return {name: round(value, 9) if isinstance(value, float) else value for name, value in row.items()}


@pytest.fixture
async def fleet(database: Database) -> AsyncIterator[Fleet]:
    connection = await asyncpg.connect(database.migrator_url)
    try:
        yield Fleet(connection)
    finally:
        await connection.close()


async def test_two_vehicles_that_swap_meters_within_an_hour_each_keep_their_energy(fleet: Fleet) -> None:
    swap = BEGIN + timedelta(hours=9, minutes=17)
    for number, kwh in ((1, 0.10), (2, 0.30)):
        await fleet.meter(f"METER-{number}", kwh)
    minutes_before, minutes_after = 9 * 60 + 17, 1440 - 9 * 60 - 17
    for vehicle_id, first, second in (("VEH-1", 1, 2), ("VEH-2", 2, 1)):
        await fleet.assign(vehicle_id, f"METER-{first}", BEGIN, swap)
        await fleet.assign(vehicle_id, f"METER-{second}", swap)
    await fleet.vehicle("VEH-1", 0.09, BEGIN, swap)
    await fleet.vehicle("VEH-1", 0.27, swap, END)
    await fleet.vehicle("VEH-2", 0.24, BEGIN, swap)
    await fleet.vehicle("VEH-2", 0.08, swap, END)

    (one, good), (two, bad) = await fleet.day("VEH-1", "VEH-2")

    assert one["ac_kwh"] == pytest.approx(0.10 * minutes_before + 0.30 * minutes_after)
    assert two["ac_kwh"] == pytest.approx(0.30 * minutes_before + 0.10 * minutes_after)
    assert (one["ac_points"], two["ac_points"], one["assigned_seconds"]) == (1440, 1440, 86400)
    assert (good.ratio, good.status) == (90.0, "healthy")
    assert (bad.ratio, bad.status) == (80.0, "faulty")


async def test_a_replaced_meter_leaves_neither_a_gap_nor_an_overlap(fleet: Fleet) -> None:
    replaced = BEGIN + timedelta(hours=5, minutes=1)
    await fleet.meter("METER-OLD", 0.2, BEGIN, replaced + timedelta(minutes=30))  # still connected to a test bench
    await fleet.meter("METER-NEW", 0.2, replaced - timedelta(minutes=30), END)
    await fleet.vehicle("VEH-1", 0.19)
    await fleet.assign("VEH-1", "METER-OLD", BEGIN - DAY, replaced)
    await fleet.assign("VEH-1", "METER-NEW", replaced)

    ((found, efficiency),) = await fleet.day("VEH-1")

    assert (found["ac_kwh"], found["ac_points"]) == (pytest.approx(288.0), 1440)
    assert found["dc_kwh_assigned"] == pytest.approx(0.19 * 1440)
    assert (efficiency.ratio, efficiency.ac_coverage, efficiency.status) == (95.0, 1.0, "healthy")


async def test_an_assignment_that_arrives_a_day_late_applies_to_earlier_readings(fleet: Fleet) -> None:
    await fleet.meter("METER-1", 0.2)
    await fleet.vehicle("VEH-1", 0.19)
    ((found, efficiency),) = await fleet.day("VEH-1")
    assert (found["assigned_seconds"], found["ac_kwh"], efficiency.status) == (None, 0, "unassigned")
    assert found["dc_kwh"] == pytest.approx(273.6)

    await fleet.assign("VEH-1", "METER-1", BEGIN - DAY)

    ((found, efficiency),) = await fleet.day("VEH-1")
    assert (found["ac_kwh"], found["ac_points"]) == (pytest.approx(288.0), 1440)
    assert (efficiency.ratio, efficiency.status) == (95.0, "healthy")


@pytest.mark.parametrize(("silent", "ac_points", "dc_points"), [("meter", 1080, 1440), ("vehicle", 1440, 1080)])
async def test_six_missing_hours_on_one_side_are_insufficient_data(
    fleet: Fleet, silent: str, ac_points: int, dc_points: int
) -> None:
    gap, back = BEGIN + timedelta(hours=3, minutes=40), BEGIN + timedelta(hours=9, minutes=40)
    await fleet.assign("VEH-1", "METER-1", BEGIN)
    for side, send, kwh in (("meter", fleet.meter, 0.2), ("vehicle", fleet.vehicle, 0.19)):
        device = "METER-1" if side == "meter" else "VEH-1"
        if side == silent:
            await send(device, kwh, BEGIN, gap)
            await send(device, kwh, back, END)
        else:
            await send(device, kwh)

    ((found, efficiency),) = await fleet.day("VEH-1")

    assert (found["ac_points"], found["dc_points"]) == (ac_points, dc_points)
    assert found["ac_kwh"] == pytest.approx(0.2 * ac_points)
    assert found["dc_kwh"] == pytest.approx(0.19 * dc_points)
    assert efficiency.status == "insufficient_data", "a silent meter would make it 127 %, a silent vehicle 71 %"
    assert efficiency.reason.startswith("75.0%")


@pytest.mark.parametrize("sent_before", [False, True])
async def test_the_time_at_a_meter_that_is_silent_is_not_compared_even_if_it_has_never_sent(
    fleet: Fleet, sent_before: bool
) -> None:
    change = END - timedelta(minutes=20)
    await fleet.assign("VEH-1", "METER-1", BEGIN, change)
    await fleet.assign("VEH-1", "METER-SILENT", change)
    await fleet.meter("METER-1", 1.0, BEGIN, change)
    await fleet.vehicle("VEH-1", 0.845)
    if sent_before:
        await fleet.meter("METER-SILENT", 1.0, BEGIN - DAY, BEGIN - DAY + timedelta(minutes=1))

    ((found, efficiency),) = await fleet.day("VEH-1")

    assert (found["ac_points_compared"], found["dc_points_compared"]) == (1420, 1420)
    assert (found["dc_points_assigned"], found["dc_points"]) == (1440, 1440)
    assert (efficiency.ratio, efficiency.status) == (84.5, "faulty")


async def test_a_vehicle_assigned_for_part_of_the_day_is_judged_by_that_part(fleet: Fleet) -> None:
    plugged, unplugged = BEGIN + timedelta(hours=2, minutes=11), BEGIN + timedelta(hours=4, minutes=47)
    await fleet.meter("METER-1", 0.5)
    await fleet.vehicle("VEH-1", 0.01, BEGIN, plugged)
    await fleet.vehicle("VEH-1", 0.44, plugged, unplugged)
    await fleet.vehicle("VEH-1", 0.01, unplugged, END)
    await fleet.assign("VEH-1", "METER-1", plugged, unplugged)

    ((found, efficiency),) = await fleet.day("VEH-1")

    minutes = 156
    assert (found["ac_points"], found["dc_points"], found["dc_points_assigned"]) == (minutes, 1440, minutes)
    assert found["ac_kwh"] == pytest.approx(0.5 * minutes)
    assert found["dc_kwh"] == pytest.approx(0.44 * minutes + 0.01 * (1440 - minutes))
    assert (efficiency.ratio, efficiency.status) == (88.0, "degraded")
    assert (efficiency.ac_coverage, efficiency.dc_coverage) == (1.0, 1.0)


async def test_readings_of_clocks_four_minutes_ahead_count_in_the_window_of_their_timestamp(fleet: Fleet) -> None:
    ahead = timedelta(minutes=4)
    await fleet.assign("VEH-1", "METER-1", BEGIN - DAY)
    await fleet.meter("METER-1", 0.2, BEGIN + ahead, END + ahead)
    await fleet.vehicle("VEH-1", 0.19, BEGIN + ahead, END + ahead)

    ((found, _),) = await fleet.day("VEH-1")
    assert (found["ac_points"], found["dc_points"]) == (1436, 1436)
    ((found, efficiency),) = await fleet.day("VEH-1", end=END + ahead)
    assert (found["ac_points"], found["dc_points"]) == (1440, 1440)
    assert found["ac_kwh"] == pytest.approx(288.0)
    assert efficiency.ratio == 95.0


async def test_24_hours_are_24_hours_when_the_clocks_change(fleet: Fleet) -> None:
    """Instants are what is stored and compared: a change of the local clock neither hides nor repeats an hour."""
    await fleet.assign("VEH-1", "METER-1", BEGIN - DAY)
    await fleet.meter("METER-1", 0.2)
    await fleet.vehicle("VEH-1", 0.19)
    connection = fleet._connection
    found = []
    for zone in ("UTC", "Europe/Berlin", "Asia/Kolkata", "America/St_Johns"):
        await connection.execute(f"SET timezone = '{zone}'")
        ((row, _),) = await fleet.day("VEH-1")
        found.append((row["ac_points"], row["dc_points"], round(row["ac_kwh"], 9), row["assigned_seconds"]))
    assert found == [(1440, 1440, 288.0, 86400.0)] * 4
