"""The 992 real charging sessions: exact from rows, from folded days, with late readings, and across the borders of levels."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg
import msgspec
import pytest

from deploy.simulator.readings import RecordType
from schemas.records.readings import MeterReading, VehicleReading
from sql.maintenance.rollups import refresh_rollups
from sql.queries import queries
from tests.support.database import Database
from tests.support.database_rows import fold_days, merge_late_readings
from tests.support.simulator import replay
from tests.support.simulator.replay import Visit

pytestmark = pytest.mark.anyio

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
MIDNIGHT: Final = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
# in the middle of the sessions, near their end, and after it
BORDERS: Final = (MIDNIGHT - 150 * DAY, MIDNIGHT - 20 * DAY, MIDNIGHT + DAY)
ASSIGN = "INSERT INTO vehicle_meter_assignments SELECT $1, $2, tstzrange($3, $4), 'test'"
LIVE = """
INSERT INTO meter_live_status SELECT meter_id, 1, 230, max(recorded_at), now() FROM meter_telemetry_history GROUP BY meter_id;
INSERT INTO vehicle_live_status
    SELECT vehicle_id, 50, 1, 20, max(recorded_at), now() FROM vehicle_telemetry_history GROUP BY vehicle_id;
"""
MAKE_LATE = """
WITH late AS (
    DELETE FROM {0}_telemetry_history WHERE recorded_at < $1 AND extract(minute FROM recorded_at)::integer % 7 = 0 RETURNING *
)
INSERT INTO {0}_late_readings SELECT * FROM late
"""


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Any]:
    opened = await asyncpg.connect(database.migrator_url)
    yield opened
    await opened.close()


async def _store(connection: Any, visits: tuple[Visit, ...]) -> None:
    """The readings of all sessions as rows, and the assignments."""
    meters: list[tuple[Any, ...]] = []
    vehicles: list[tuple[Any, ...]] = []
    for record in replay.readings(visits):
        assert record.value is not None
        if record.record_type is RecordType.METER:
            meter = msgspec.json.decode(record.value, type=MeterReading)
            meters.append((meter.meter_id, meter.timestamp, meter.kwh_consumed_ac, meter.voltage))
        else:
            vehicle = msgspec.json.decode(record.value, type=VehicleReading)
            vehicles.append(
                (vehicle.vehicle_id, vehicle.timestamp, vehicle.kwh_delivered_dc, vehicle.soc, vehicle.battery_temp)
            )
    await connection.copy_records_to_table(
        "meter_telemetry_history", records=meters, columns=("meter_id", "recorded_at", "kwh_consumed_ac", "voltage")
    )
    await connection.copy_records_to_table(
        "vehicle_telemetry_history",
        records=vehicles,
        columns=("vehicle_id", "recorded_at", "kwh_delivered_dc", "soc", "battery_temp"),
    )
    await connection.executemany(
        ASSIGN, [(each.vehicle_id, each.plug, each.valid_from, each.valid_to) for each in visits]
    )
    await connection.execute(LIVE)


async def _check(connection: Any, visits: tuple[Visit, ...], state: str) -> None:
    """24 hours of each vehicle and the whole time of each plug have the totals of the file."""
    closes = [visit.valid_to + HOUR for visit in visits]
    expected = replay.expected_vehicles(visits)
    found = queries.energy_of(
        connection,
        vehicle_ids=[visit.vehicle_id for visit in visits],
        opens=[each - DAY for each in closes],
        closes=closes,
    )
    async for row in found:
        totals = expected[row["vehicle_id"]]
        assert (row["ac_points"], row["dc_points"]) == (totals.points, totals.points), (state, row)
        measured = (row["ac_kwh"], row["dc_kwh"], row["average_battery_temp"])
        assert measured == pytest.approx((totals.ac_kwh, totals.dc_kwh, totals.average_battery_temp)), (state, row)
    plugs = replay.expected_plugs(visits)
    opens = min(visit.valid_from for visit in visits)
    of_plugs = queries.meter_energy_of(
        connection, meter_ids=list(plugs), opens=[opens] * len(plugs), closes=[max(closes)] * len(plugs)
    )
    async for row in of_plugs:
        total = plugs[row["meter_id"]]
        assert (row["readings"], row["kwh"]) == (total.points, pytest.approx(total.ac_kwh)), (state, row)


async def test_the_real_sessions_are_exact_on_every_level_and_across_their_borders(connection: Any) -> None:
    visits = replay.visits(datetime.now(UTC) - 2 * HOUR)
    assert len(visits) == 992
    await _store(connection, visits)
    await _check(connection, visits, "rows")
    await refresh_rollups(connection, datetime.now(UTC), grace=timedelta(0))
    await _check(connection, visits, "rollups")
    for before in BORDERS:
        for side in ("meter", "vehicle"):
            await connection.execute(MAKE_LATE.format(side), before)
        await fold_days(connection, before)
        await _check(connection, visits, f"folded before {before}, with late readings")
        await merge_late_readings(connection)
        await _check(connection, visits, f"folded before {before}")
    rows = "SELECT (SELECT count(*) FROM meter_telemetry_history) + (SELECT count(*) FROM meter_late_readings)"
    assert await connection.fetchval(rows) == 0
