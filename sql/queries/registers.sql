-- name: insert_new_registers(ids, times, kwhs, voltages)
-- Stores the readings whose identity (device, time) is not stored yet, and returns their identities.
INSERT INTO meter_register_history (meter_id, recorded_at, kwh_register, voltage)
SELECT * FROM unnest(:ids::text[], :times::timestamptz[], :kwhs::double precision[], :voltages::double precision[])
ON CONFLICT DO NOTHING
RETURNING meter_id, recorded_at;

-- name: match_registers(ids, times, kwhs, voltages)
-- For each reading, in the order given: whether its values equal those stored under its identity; NULL when none is stored.
SELECT stored.kwh_register = given.kwh AND stored.voltage = given.voltage AS same
FROM unnest(:ids::text[], :times::timestamptz[], :kwhs::double precision[], :voltages::double precision[])
    WITH ORDINALITY AS given (meter_id, recorded_at, kwh, voltage, position)
LEFT JOIN LATERAL (
    -- OFFSET 0 forces a lookup by key in one partition, for any number of readings
    SELECT kwh_register, voltage FROM meter_register_history AS history
    WHERE history.meter_id = given.meter_id AND history.recorded_at = given.recorded_at
    OFFSET 0
) AS stored ON true
ORDER BY position;

-- name: derive_intervals(ids, earliest, latest, jitter)^
-- Derives the intervals that new readings have changed, with live status and late hours: for each meter, from its earliest to
-- its latest new reading.
SELECT derive_intervals(:ids::text[], :earliest::timestamptz[], :latest::timestamptz[], :jitter)::text AS derived;
