-- name: insert_new_registers(ids, times, kwhs, voltages)
-- Stores those readings whose identity is not yet there and tells which they were.
INSERT INTO meter_register_history (meter_id, recorded_at, kwh_register, voltage)
SELECT * FROM unnest(:ids::text[], :times::timestamptz[], :kwhs::double precision[], :voltages::double precision[])
ON CONFLICT DO NOTHING
RETURNING meter_id, recorded_at;

-- name: match_registers(ids, times, kwhs, voltages)
-- For each reading, in the order given: does it say the same as the one stored under its identity? (NULL: none is.)
SELECT stored.kwh_register = given.kwh AND stored.voltage = given.voltage AS same
FROM unnest(:ids::text[], :times::timestamptz[], :kwhs::double precision[], :voltages::double precision[])
    WITH ORDINALITY AS given (meter_id, recorded_at, kwh, voltage, position)
LEFT JOIN LATERAL (
    -- OFFSET 0 keeps this a look-up by key in one partition, whatever the number of readings
    SELECT kwh_register, voltage FROM meter_register_history AS history
    WHERE history.meter_id = given.meter_id AND history.recorded_at = given.recorded_at
    OFFSET 0
) AS stored ON true
ORDER BY position;

-- name: derive_intervals(ids, earliest, latest, jitter)^
-- The intervals that new readings have changed, with live status and late hours: one stretch of new readings of each meter.
SELECT derive_intervals(:ids::text[], :earliest::timestamptz[], :latest::timestamptz[], :jitter)::text AS derived;
