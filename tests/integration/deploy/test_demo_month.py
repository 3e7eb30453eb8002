"""The folded days of the demo: what folding would have written, in the ledger, and answered as the simulator's truth."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg
import msgspec
import pytest

from deploy.demo.checks import CheckFailedError, check_day, check_ledger
from deploy.demo.fleet import FLEET, aging_vehicles
from deploy.demo.month.checks import check_readings
from deploy.demo.month.load import load_days
from deploy.simulator.fleet import Fleet, Vehicle, assignments, vehicle
from deploy.simulator.readings import milliseconds, pair_at
from schemas.records.readings import MeterReading, VehicleReading
from sql.assign import Assignment, write_assignments
from sql.partitions import midnight
from sql.queries import queries
from tests.support.database import Database
from tests.support.responses import StartApi

pytestmark = pytest.mark.anyio
DAY: Final = timedelta(days=1)
UNTIL: Final = midnight(datetime.now(UTC)) - DAY
FLEET_OF_TEST: Final = Fleet(aging_share=0.3, routine_days=1)
VEHICLES: Final = 2
LIVE: Final = """
WITH vehicle AS (INSERT INTO vehicle_live_status VALUES ($1, 50, 1, 20, now(), now()))
INSERT INTO meter_live_status VALUES ($2, 1, 230, now(), now())
"""


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Any]:
    opened = await asyncpg.connect(database.migrator_url)
    yield opened
    await opened.close()


async def _stored_days(connection: Any) -> dict[str, str]:
    """The folded days of all devices, with all their columns."""
    rows = [
        await connection.fetch(
            f"SELECT day::text || ' ' || {side}_id AS key, stored::text AS row FROM {side}_days AS stored"
        )
        for side in ("meter", "vehicle")
    ]
    return {row["key"]: row["row"] for side in rows for row in side}


async def _fold_rows(connection: Any, one: Vehicle, opens: datetime) -> None:
    """A day of a vehicle and its meter as rows, and then as the schema folds them."""
    first = milliseconds(opens) // 60_000
    pairs = [pair_at(one, minute) for minute in range(first, first + 1440)]
    meters = [msgspec.json.decode(record.value or b"", type=MeterReading) for record, _ in pairs]
    vehicles = [msgspec.json.decode(record.value or b"", type=VehicleReading) for _, record in pairs]
    await connection.copy_records_to_table(
        "meter_telemetry_history",
        columns=("meter_id", "recorded_at", "ingested_at", "kwh_consumed_ac", "voltage"),
        records=[
            (each.meter_id, each.timestamp, each.timestamp, each.kwh_consumed_ac, each.voltage) for each in meters
        ],
    )
    await connection.copy_records_to_table(
        "vehicle_telemetry_history",
        columns=("vehicle_id", "recorded_at", "ingested_at", "kwh_delivered_dc", "soc", "battery_temp"),
        records=[
            (each.vehicle_id, each.timestamp, each.timestamp, each.kwh_delivered_dc, each.soc, each.battery_temp)
            for each in vehicles
        ],
    )
    await connection.execute("SELECT fold_meter_day($1, $2)", one.meter_id, opens.date())
    await connection.execute("SELECT fold_vehicle_day($1, $2)", one.vehicle_id, opens.date())
    await connection.execute("TRUNCATE meter_telemetry_history, vehicle_telemetry_history")


async def test_the_loaded_days_are_those_that_folding_writes(connection: Any) -> None:
    opens, vehicles = (
        UNTIL - 2 * DAY,
        [vehicle(FLEET_OF_TEST, number) for number in range(1, VEHICLES + 1)],
    )
    for one in vehicles:
        for day in (opens, opens + DAY):
            await _fold_rows(connection, one, day)
    folded = await _stored_days(connection)
    await connection.execute("TRUNCATE meter_days, vehicle_days")

    readings = await load_days(connection, FLEET_OF_TEST, VEHICLES, UNTIL, 2)

    assert {one.charger_age_days is None for one in vehicles} == {True, False}
    assert readings == 2 * 2 * 1440 * VEHICLES
    assert len(folded) == 2 * 2 * VEHICLES
    assert await _stored_days(connection) == folded


async def test_the_ledger_adds_up_and_the_loaded_days_are_complete(database: Database, connection: Any) -> None:
    reported: list[str] = []

    await load_days(connection, FLEET_OF_TEST, 1, UNTIL, 3)

    await asyncio.to_thread(check_ledger, database.migrator_url, reported.append)
    assert [line.split(":")[0] for line in reported] == ["meter-readings", "vehicle-readings"]
    assert all("4,320 consumed = 4,320 written" in line and "4,320 rows stored" in line for line in reported)
    state = await connection.fetchrow(
        "SELECT late_before, complete_before, folding_before, folded_before FROM rollup_state"
    )
    assert set(state) == {UNTIL}
    await connection.execute("UPDATE kafka_offsets SET updated_at = now() - interval '1 day'")
    assert [row async for row in queries.check_stalled_partitions(connection)] == [], "no consumer has to read further"
    assert [row["mismatch"] async for row in queries.measure_ledger(connection)] == [0, 0]


async def test_the_api_answers_for_loaded_days_with_the_simulators_truth(connection: Any, start_api: StartApi) -> None:
    aging = aging_vehicles()[0]
    given = [
        Assignment(0, each.vehicle_id, each.meter_id, each.valid_from, each.valid_to)
        for each in assignments(Fleet(aging))
    ]
    await write_assignments(connection, given, "test")
    await load_days(connection, FLEET, aging, UNTIL, 3)
    await connection.execute(LIVE, f"VEH-{aging:03d}", f"METER-{aging:03d}")
    api = start_api()

    def check() -> None:
        for end in (UNTIL, UNTIL - DAY, UNTIL - 2 * DAY):
            check_day(api, 1, end)
            check_day(api, aging, end)
        check_readings(api, aging, UNTIL - DAY)

    await asyncio.to_thread(check)
    await connection.execute(
        "UPDATE vehicle_days SET soc.small[7] = (soc).small[7] + 1 WHERE vehicle_id = $1", f"VEH-{aging:03d}"
    )
    with pytest.raises(CheckFailedError, match="are not those of the simulator"):
        await asyncio.to_thread(check)
