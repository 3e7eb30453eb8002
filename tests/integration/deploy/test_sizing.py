"""The two inputs of the sizing model without a benchmark: the size of rollups and of live status in a real PostgreSQL."""

import pytest

from deploy.sizing import measured
from tests.support.database import Database

DEVICES, HOURS = 2_000, 48
ROWS = f"""
INSERT INTO meter_energy_hourly (hour, kwh_consumed_ac, readings, meter_id)
SELECT date_trunc('hour', now()) - hour * interval '1 hour', 1.5, 60, 'METER-' || lpad(device::text, 6, '0')
FROM generate_series(1, {HOURS}) AS hour, generate_series(1, {DEVICES}) AS device ORDER BY hour DESC, device;
INSERT INTO vehicle_energy_hourly
    (hour, kwh_delivered_dc, battery_temp_sum, battery_temp_max, soc_min, soc_max, readings, vehicle_id)
SELECT date_trunc('hour', now()) - hour * interval '1 hour', 1.5, 1800, 30, 50, 60, 60, 'VEH-' || lpad(device::text, 6, '0')
FROM generate_series(1, {HOURS}) AS hour, generate_series(1, {DEVICES}) AS device ORDER BY hour DESC, device;
INSERT INTO meter_live_status (meter_id, last_kwh_consumed_ac, last_voltage, recorded_at, updated_at)
SELECT 'METER-' || lpad(device::text, 6, '0'), 1, 230, now(), now() FROM generate_series(1, {DEVICES}) AS device;
INSERT INTO vehicle_live_status (vehicle_id, soc, last_kwh_delivered_dc, last_battery_temp, recorded_at, updated_at)
SELECT 'VEH-' || lpad(device::text, 6, '0'), 50, 1, 30, now(), now() FROM generate_series(1, {DEVICES}) AS device;
"""
SIZE = """
SELECT sum(pg_total_relation_size(oid)) FROM pg_class
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname ~ $1
"""
ROLLUPS, LIVE = "^(meter|vehicle)_energy_hourly_y", "^(meter|vehicle)_live_status$"


@pytest.mark.anyio
async def test_rollups_and_live_status_have_the_sizes_of_the_model(database: Database) -> None:
    before = [await database.value(SIZE, tables) for tables in (ROLLUPS, LIVE)]
    await database.execute(ROWS)
    after = [await database.value(SIZE, tables) for tables in (ROLLUPS, LIVE)]
    rollups, live = (int(size - empty) for size, empty in zip(after, before, strict=True))
    # Maps and half-empty pages add to the size of a small table, and are negligible in a large one.
    assert rollups / (2 * DEVICES * HOURS) == pytest.approx(measured.ROLLUP_BYTES, rel=0.15)
    assert live / (2 * DEVICES) == pytest.approx(measured.LIVE_BYTES, rel=0.25)
