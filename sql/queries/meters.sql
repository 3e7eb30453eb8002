-- name: newest_meter_readings(ids)
-- The newest reading of each of these meters: a reading newer than that cannot be stored already.
SELECT meter_id, recorded_at FROM meter_live_status WHERE meter_id = ANY(:ids::text[]);

-- name: insert_new_meter_readings(ids, times, kwhs, voltages)
-- Stores the readings whose identity (device, time) is not stored yet, and returns their identities.
INSERT INTO meter_telemetry_history (meter_id, recorded_at, kwh_consumed_ac, voltage)
SELECT * FROM unnest(:ids::text[], :times::timestamptz[], :kwhs::double precision[], :voltages::double precision[])
ON CONFLICT DO NOTHING
RETURNING meter_id, recorded_at;

-- name: match_meter_readings(ids, times, kwhs, voltages)
-- For each reading, in the order given: whether its values equal those stored under its identity; NULL when none is stored.
SELECT stored.kwh_consumed_ac = given.kwh AND stored.voltage = given.voltage AS same
FROM unnest(:ids::text[], :times::timestamptz[], :kwhs::double precision[], :voltages::double precision[])
    WITH ORDINALITY AS given (meter_id, recorded_at, kwh, voltage, position)
LEFT JOIN LATERAL (
    -- OFFSET 0 forces a lookup by key in one partition, for any number of readings
    SELECT kwh_consumed_ac, voltage FROM meter_telemetry_history AS history
    WHERE history.meter_id = given.meter_id AND history.recorded_at = given.recorded_at
    OFFSET 0
) AS stored ON true
ORDER BY position;

-- name: upsert_meter_status(ids, times, kwhs, voltages)!
-- Live status advances only, by the device's own clock.
INSERT INTO meter_live_status AS live (meter_id, recorded_at, last_kwh_consumed_ac, last_voltage, updated_at)
SELECT given.*, now()
FROM unnest(:ids::text[], :times::timestamptz[], :kwhs::double precision[], :voltages::double precision[]) AS given
ON CONFLICT (meter_id) DO UPDATE
SET recorded_at = excluded.recorded_at,
    last_kwh_consumed_ac = excluded.last_kwh_consumed_ac,
    last_voltage = excluded.last_voltage,
    updated_at = excluded.updated_at
WHERE excluded.recorded_at > live.recorded_at;

-- name: meter_status(meter_id)^
SELECT meter_id, last_kwh_consumed_ac, last_voltage, recorded_at, updated_at
FROM meter_live_status WHERE meter_id = :meter_id;

-- name: list_meter_status(after, row_limit)
-- One page of live status, in the order of the ids, after the given id.
SELECT meter_id, last_kwh_consumed_ac, last_voltage, recorded_at, updated_at
FROM meter_live_status WHERE meter_id > :after ORDER BY meter_id LIMIT :row_limit;
