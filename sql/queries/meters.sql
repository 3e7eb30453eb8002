-- name: newest_meter_readings(ids)
-- The newest reading known of each of these meters: anything newer cannot have been stored before.
SELECT meter_id, recorded_at FROM meter_live_status WHERE meter_id = ANY(:ids::text[]);

-- name: insert_new_meter_readings(ids, times, kwhs, voltages)
-- Stores those readings whose identity is not yet there and tells which they were.
INSERT INTO meter_telemetry_history (meter_id, recorded_at, kwh_consumed_ac, voltage)
SELECT * FROM unnest(:ids::text[], :times::timestamptz[], :kwhs::double precision[], :voltages::double precision[])
ON CONFLICT DO NOTHING
RETURNING meter_id, recorded_at;

-- name: match_meter_readings(ids, times, kwhs, voltages)
-- For each reading, in the order given: does it say the same as the one stored under its identity? (NULL: none is.)
SELECT stored.kwh_consumed_ac = given.kwh AND stored.voltage = given.voltage AS same
FROM unnest(:ids::text[], :times::timestamptz[], :kwhs::double precision[], :voltages::double precision[])
    WITH ORDINALITY AS given (meter_id, recorded_at, kwh, voltage, position)
LEFT JOIN LATERAL (
    -- OFFSET 0 keeps this a look-up by key in one partition, whatever the number of readings
    SELECT kwh_consumed_ac, voltage FROM meter_telemetry_history AS history
    WHERE history.meter_id = given.meter_id AND history.recorded_at = given.recorded_at
    OFFSET 0
) AS stored ON true
ORDER BY position;

-- name: upsert_meter_status(ids, times, kwhs, voltages)!
-- Live status moves only forward in the device's own time.
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
-- One page of live status, in the order of the ids, after the given one.
SELECT meter_id, last_kwh_consumed_ac, last_voltage, recorded_at, updated_at
FROM meter_live_status WHERE meter_id > :after ORDER BY meter_id LIMIT :row_limit;
