-- name: hold_watermarks()^
-- late_before and folding_before, as an array. They cannot move until this transaction ends.
SELECT hold_watermarks() AS watermarks;

-- name: hold_merging()^
-- Late readings cannot be merged into folded rows until this transaction ends.
SELECT hold_merging()::text AS held;

-- name: insert_late_meter_readings(ids, times, kwhs, voltages)
-- Stores the readings whose identity (device, time) is not stored on any level, and returns their identities.
WITH given AS MATERIALIZED (
    SELECT * FROM unnest(:ids::text[], :times::timestamptz[], :kwhs::double precision[], :voltages::double precision[])
        WITH ORDINALITY AS given (meter_id, recorded_at, kwh, voltage, position)
), folded AS MATERIALIZED (
    SELECT meter_id, unnest(decode_instants(recorded)) AS recorded_at
    FROM (SELECT DISTINCT meter_id, (recorded_at AT TIME ZONE 'UTC')::date AS day FROM given) AS wanted
    JOIN meter_days USING (meter_id, day)
)
INSERT INTO meter_late_readings (meter_id, recorded_at, kwh_consumed_ac, voltage)
SELECT meter_id, recorded_at, kwh, voltage FROM given
WHERE NOT EXISTS (
        SELECT FROM folded WHERE folded.meter_id = given.meter_id AND folded.recorded_at = given.recorded_at
    ) AND NOT EXISTS (
        SELECT FROM meter_telemetry_history AS history
        WHERE history.meter_id = given.meter_id AND history.recorded_at = given.recorded_at
        OFFSET 0 -- forces a lookup by key in one partition, for any number of readings
    )
ORDER BY position -- of copies, the first is stored
ON CONFLICT DO NOTHING
RETURNING meter_id, recorded_at;

-- name: match_late_meter_readings(ids, times, kwhs, voltages)
-- For each reading, in the order given: whether its values equal those stored under its identity; NULL when none is stored. The day
-- of a device is decoded once, however many of its readings are asked for.
WITH given AS MATERIALIZED (
    SELECT * FROM unnest(:ids::text[], :times::timestamptz[], :kwhs::double precision[], :voltages::double precision[])
        WITH ORDINALITY AS given (meter_id, recorded_at, kwh, voltage, position)
), stored AS MATERIALIZED (
    SELECT reading.*
    FROM (
        SELECT meter_id, (recorded_at AT TIME ZONE 'UTC')::date AS day, array_agg(recorded_at) AS instants FROM given GROUP BY 1, 2
    ) AS wanted
    CROSS JOIN LATERAL (
        SELECT meter_id, recorded_at, kwh_consumed_ac, voltage FROM meter_readings AS reading
        WHERE reading.meter_id = wanted.meter_id AND reading.day = wanted.day AND reading.recorded_at = ANY(wanted.instants)
        OFFSET 0 -- forces a lookup by key: without it, all days of all devices are decoded
    ) AS reading
)
SELECT stored.kwh_consumed_ac = given.kwh AND stored.voltage = given.voltage AS same
FROM given LEFT JOIN stored USING (meter_id, recorded_at)
ORDER BY position;

-- name: insert_late_vehicle_readings(ids, times, kwhs, socs, temperatures)
-- Stores the readings whose identity (device, time) is not stored on any level, and returns their identities.
WITH given AS MATERIALIZED (
    SELECT * FROM unnest(
        :ids::text[], :times::timestamptz[], :kwhs::double precision[], :socs::double precision[], :temperatures::double precision[]
    )
        WITH ORDINALITY AS given (vehicle_id, recorded_at, kwh, soc, temperature, position)
), folded AS MATERIALIZED (
    SELECT vehicle_id, unnest(decode_instants(recorded)) AS recorded_at
    FROM (SELECT DISTINCT vehicle_id, (recorded_at AT TIME ZONE 'UTC')::date AS day FROM given) AS wanted
    JOIN vehicle_days USING (vehicle_id, day)
)
INSERT INTO vehicle_late_readings (vehicle_id, recorded_at, kwh_delivered_dc, soc, battery_temp)
SELECT vehicle_id, recorded_at, kwh, soc, temperature FROM given
WHERE NOT EXISTS (
        SELECT FROM folded WHERE folded.vehicle_id = given.vehicle_id AND folded.recorded_at = given.recorded_at
    ) AND NOT EXISTS (
        SELECT FROM vehicle_telemetry_history AS history
        WHERE history.vehicle_id = given.vehicle_id AND history.recorded_at = given.recorded_at
        OFFSET 0 -- forces a lookup by key in one partition, for any number of readings
    )
ORDER BY position -- of copies, the first is stored
ON CONFLICT DO NOTHING
RETURNING vehicle_id, recorded_at;

-- name: match_late_vehicle_readings(ids, times, kwhs, socs, temperatures)
-- For each reading, in the order given: whether its values equal those stored under its identity; NULL when none is stored. The day
-- of a device is decoded once, however many of its readings are asked for.
WITH given AS MATERIALIZED (
    SELECT * FROM unnest(
        :ids::text[], :times::timestamptz[], :kwhs::double precision[], :socs::double precision[], :temperatures::double precision[]
    )
        WITH ORDINALITY AS given (vehicle_id, recorded_at, kwh, soc, temperature, position)
), stored AS MATERIALIZED (
    SELECT reading.*
    FROM (
        SELECT vehicle_id, (recorded_at AT TIME ZONE 'UTC')::date AS day, array_agg(recorded_at) AS instants FROM given GROUP BY 1, 2
    ) AS wanted
    CROSS JOIN LATERAL (
        SELECT vehicle_id, recorded_at, kwh_delivered_dc, soc, battery_temp FROM vehicle_readings AS reading
        WHERE reading.vehicle_id = wanted.vehicle_id AND reading.day = wanted.day AND reading.recorded_at = ANY(wanted.instants)
        OFFSET 0 -- forces a lookup by key: without it, all days of all devices are decoded
    ) AS reading
)
SELECT stored.kwh_delivered_dc = given.kwh AND stored.soc = given.soc AND stored.battery_temp = given.temperature AS same
FROM given LEFT JOIN stored USING (vehicle_id, recorded_at)
ORDER BY position;

-- name: insert_late_registers(ids, times, kwhs, voltages)
-- Stores the readings whose identity (device, time) is not stored on any level, and returns their identities.
WITH given AS MATERIALIZED (
    SELECT * FROM unnest(:ids::text[], :times::timestamptz[], :kwhs::double precision[], :voltages::double precision[])
        WITH ORDINALITY AS given (meter_id, recorded_at, kwh, voltage, position)
), folded AS MATERIALIZED (
    SELECT meter_id, unnest(decode_instants(recorded)) AS recorded_at
    FROM (SELECT DISTINCT meter_id, (recorded_at AT TIME ZONE 'UTC')::date AS day FROM given) AS wanted
    JOIN register_days USING (meter_id, day)
)
INSERT INTO register_late_readings (meter_id, recorded_at, kwh_register, voltage)
SELECT meter_id, recorded_at, kwh, voltage FROM given
WHERE NOT EXISTS (
        SELECT FROM folded WHERE folded.meter_id = given.meter_id AND folded.recorded_at = given.recorded_at
    ) AND NOT EXISTS (
        SELECT FROM meter_register_history AS history
        WHERE history.meter_id = given.meter_id AND history.recorded_at = given.recorded_at
        OFFSET 0 -- forces a lookup by key in one partition, for any number of readings
    )
ORDER BY position -- of copies, the first is stored
ON CONFLICT DO NOTHING
RETURNING meter_id, recorded_at;

-- name: match_late_registers(ids, times, kwhs, voltages)
-- For each reading, in the order given: whether its values equal those stored under its identity; NULL when none is stored. The day
-- of a device is decoded once, however many of its readings are asked for.
WITH given AS MATERIALIZED (
    SELECT * FROM unnest(:ids::text[], :times::timestamptz[], :kwhs::double precision[], :voltages::double precision[])
        WITH ORDINALITY AS given (meter_id, recorded_at, kwh, voltage, position)
), stored AS MATERIALIZED (
    SELECT reading.*
    FROM (
        SELECT meter_id, (recorded_at AT TIME ZONE 'UTC')::date AS day, array_agg(recorded_at) AS instants FROM given GROUP BY 1, 2
    ) AS wanted
    CROSS JOIN LATERAL (
        SELECT meter_id, recorded_at, kwh_register, voltage FROM register_readings AS reading
        WHERE reading.meter_id = wanted.meter_id AND reading.day = wanted.day AND reading.recorded_at = ANY(wanted.instants)
        OFFSET 0 -- forces a lookup by key: without it, all days of all devices are decoded
    ) AS reading
)
SELECT stored.kwh_register = given.kwh AND stored.voltage = given.voltage AS same
FROM given LEFT JOIN stored USING (meter_id, recorded_at)
ORDER BY position;
