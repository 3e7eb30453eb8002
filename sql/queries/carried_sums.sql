-- name: plan_for_these_vehicles()!
-- For the rest of the transaction: the right plan depends on the number of vehicles, and on the partitions that are read.
SELECT set_config('plan_cache_mode', 'force_custom_plan', true);

-- name: window_energy_of(vehicle_ids, hour, opens, closes, carried_from)
-- The rows of the function carried_energy_of, which describes the parameters.
SELECT * FROM carried_energy_of(:vehicle_ids, :hour, :opens, :closes, :carried_from);

-- name: meters_of(vehicle_ids, opens, closes)
-- The meters that were assigned to these vehicles during [opens, closes).
SELECT DISTINCT meter_id FROM vehicle_meter_assignments
WHERE vehicle_id = ANY(:vehicle_ids::text[])
    AND lower(valid_during) < :closes AND coalesce(upper(valid_during) > :opens, true);

-- name: carry_meters(device_ids, hour)!
-- Carries the sums of meters that have none for windows that begin in this hour: the hours that are rolled up. Without effect until
-- the hour itself is.
WITH state AS MATERIALIZED (
    SELECT complete_before, :hour::timestamptz + interval '1 hour' AS opens FROM rollup_state
    WHERE complete_before > :hour AND folding_before <= :hour
), wanted AS MATERIALIZED (
    SELECT device.meter_id FROM unnest(:device_ids::text[]) AS device (meter_id)
    WHERE NOT EXISTS (SELECT FROM meter_carried_sums AS carried WHERE carried.hour = :hour AND carried.meter_id = device.meter_id)
), leaving AS (
    INSERT INTO meter_leaving_hours AS stored (hour, meter_id, minutes_left, kwh_consumed_ac)
    SELECT :hour, wanted.meter_id, part.*
    FROM wanted CROSS JOIN state CROSS JOIN LATERAL (
        SELECT array_agg(minutes_left), array_agg(kwh) FROM (
            SELECT (59 - date_part('minute', recorded_at AT TIME ZONE 'UTC'))::smallint AS minutes_left,
                sum(kwh_consumed_ac) OVER (ORDER BY recorded_at DESC ROWS UNBOUNDED PRECEDING) AS kwh
            FROM meter_telemetry_history
            WHERE meter_id = wanted.meter_id AND recorded_at >= :hour AND recorded_at < state.opens
            ORDER BY recorded_at DESC
        ) AS last
    ) AS part
    ON CONFLICT (meter_id, hour) DO UPDATE
    SET minutes_left = excluded.minutes_left, kwh_consumed_ac = excluded.kwh_consumed_ac
)
INSERT INTO meter_carried_sums
    (hour, meter_id, closes, kwh_consumed_ac, readings, rolled_up_to, rolled_up_kwh, rolled_up_readings)
SELECT :hour, wanted.meter_id, state.complete_before, whole.kwh, whole.readings, state.complete_before, whole.kwh, whole.readings
FROM wanted CROSS JOIN state
CROSS JOIN LATERAL (
    SELECT coalesce(sum(kwh_consumed_ac), 0) AS kwh, coalesce(sum(readings), 0) AS readings
    FROM meter_energy_hourly
    WHERE meter_id = wanted.meter_id AND hour >= state.opens AND hour < state.complete_before
) AS whole;

-- name: carry_vehicles(device_ids, hour)!
WITH state AS MATERIALIZED (
    SELECT complete_before, :hour::timestamptz + interval '1 hour' AS opens FROM rollup_state
    WHERE complete_before > :hour AND folding_before <= :hour
), wanted AS MATERIALIZED (
    SELECT device.vehicle_id FROM unnest(:device_ids::text[]) AS device (vehicle_id)
    WHERE NOT EXISTS (
        SELECT FROM vehicle_carried_sums AS carried WHERE carried.hour = :hour AND carried.vehicle_id = device.vehicle_id
    )
), leaving AS (
    INSERT INTO vehicle_leaving_hours AS stored (hour, vehicle_id, minutes_left, kwh_delivered_dc, battery_temp_sum)
    SELECT :hour, wanted.vehicle_id, part.*
    FROM wanted CROSS JOIN state CROSS JOIN LATERAL (
        SELECT array_agg(minutes_left), array_agg(kwh), array_agg(battery_temp_sum) FROM (
            SELECT (59 - date_part('minute', recorded_at AT TIME ZONE 'UTC'))::smallint AS minutes_left,
                sum(kwh_delivered_dc) OVER backwards AS kwh, sum(battery_temp) OVER backwards AS battery_temp_sum
            FROM vehicle_telemetry_history
            WHERE vehicle_id = wanted.vehicle_id AND recorded_at >= :hour AND recorded_at < state.opens
            WINDOW backwards AS (ORDER BY recorded_at DESC ROWS UNBOUNDED PRECEDING)
            ORDER BY recorded_at DESC
        ) AS last
    ) AS part
    ON CONFLICT (vehicle_id, hour) DO UPDATE
    SET minutes_left = excluded.minutes_left, kwh_delivered_dc = excluded.kwh_delivered_dc,
        battery_temp_sum = excluded.battery_temp_sum
)
INSERT INTO vehicle_carried_sums (
    hour, vehicle_id, closes, kwh_delivered_dc, battery_temp_sum, readings,
    rolled_up_to, rolled_up_kwh, rolled_up_battery_temp_sum, rolled_up_readings
)
SELECT :hour, wanted.vehicle_id, state.complete_before, whole.*, state.complete_before, whole.*
FROM wanted CROSS JOIN state
CROSS JOIN LATERAL (
    SELECT coalesce(sum(kwh_delivered_dc), 0) AS kwh, coalesce(sum(battery_temp_sum), 0) AS battery_temp_sum,
        coalesce(sum(readings), 0) AS readings
    FROM vehicle_energy_hourly
    WHERE vehicle_id = wanted.vehicle_id AND hour >= state.opens AND hour < state.complete_before
) AS whole;

-- name: carry_meters_on(device_ids, hours)!
-- Adds what has been recorded since to the carried sums of meters, up to late_before.
UPDATE meter_carried_sums AS carried
SET closes = since.late_before, kwh_consumed_ac = carried.kwh_consumed_ac + coalesce(since.kwh, 0),
    readings = carried.readings + since.readings
FROM (
    SELECT former.hour, former.meter_id, state.late_before, part.*
    FROM rollup_state AS state
    CROSS JOIN unnest(:hours::timestamptz[]) AS window_hour (hour)
    CROSS JOIN unnest(:device_ids::text[]) AS device (meter_id)
    JOIN meter_carried_sums AS former
        ON former.hour = window_hour.hour AND former.meter_id = device.meter_id AND former.closes < state.late_before
    CROSS JOIN LATERAL (
        SELECT sum(kwh_consumed_ac) AS kwh, count(*) AS readings
        FROM meter_telemetry_history AS history
        WHERE history.meter_id = former.meter_id
            AND history.recorded_at >= former.closes AND history.recorded_at < state.late_before
    ) AS part
) AS since
WHERE carried.hour = since.hour AND carried.meter_id = since.meter_id;

-- name: carry_vehicles_on(device_ids, hours)!
UPDATE vehicle_carried_sums AS carried
SET closes = since.late_before, kwh_delivered_dc = carried.kwh_delivered_dc + coalesce(since.kwh, 0),
    battery_temp_sum = carried.battery_temp_sum + coalesce(since.battery_temp_sum, 0),
    readings = carried.readings + since.readings
FROM (
    SELECT former.hour, former.vehicle_id, state.late_before, part.*
    FROM rollup_state AS state
    CROSS JOIN unnest(:hours::timestamptz[]) AS window_hour (hour)
    CROSS JOIN unnest(:device_ids::text[]) AS device (vehicle_id)
    JOIN vehicle_carried_sums AS former
        ON former.hour = window_hour.hour AND former.vehicle_id = device.vehicle_id AND former.closes < state.late_before
    CROSS JOIN LATERAL (
        SELECT sum(kwh_delivered_dc) AS kwh, sum(battery_temp) AS battery_temp_sum, count(*) AS readings
        FROM vehicle_telemetry_history AS history
        WHERE history.vehicle_id = former.vehicle_id
            AND history.recorded_at >= former.closes AND history.recorded_at < state.late_before
    ) AS part
) AS since
WHERE carried.hour = since.hour AND carried.vehicle_id = since.vehicle_id;

-- name: is_carried(vehicle_id, hour)$
-- Whether the sums of this vehicle are carried for windows that begin in this hour.
SELECT EXISTS (SELECT FROM vehicle_carried_sums WHERE vehicle_id = :vehicle_id AND hour = :hour);

-- name: forget_late_readings()!
-- Takes carried sums back to the rolled up hours where readings have come for what they had added since, and deletes the marks of
-- these readings: once their hour is rolled up, its sum contains them. Marks of hours that are rolled up already are deleted where
-- these are refreshed, together with the carried sums.
WITH marks AS (
    DELETE FROM late_hours WHERE hour >= (SELECT complete_before FROM rollup_state) RETURNING side, device_id
), every AS MATERIALIZED (
    SELECT coalesce(bool_or(side = 'meter'), false) AS meter, coalesce(bool_or(side = 'vehicle'), false) AS vehicle
    FROM marks WHERE device_id = ''
), meters AS (
    UPDATE meter_carried_sums
    SET closes = rolled_up_to, kwh_consumed_ac = rolled_up_kwh, readings = rolled_up_readings
    WHERE meter_id = ANY(ARRAY(SELECT DISTINCT device_id FROM marks WHERE side = 'meter' AND NOT (SELECT meter FROM every)))
), vehicles AS (
    UPDATE vehicle_carried_sums
    SET closes = rolled_up_to, kwh_delivered_dc = rolled_up_kwh, battery_temp_sum = rolled_up_battery_temp_sum,
        readings = rolled_up_readings
    WHERE vehicle_id = ANY(ARRAY(SELECT DISTINCT device_id FROM marks WHERE side = 'vehicle' AND NOT (SELECT vehicle FROM every)))
), all_meters AS (
    UPDATE meter_carried_sums
    SET closes = rolled_up_to, kwh_consumed_ac = rolled_up_kwh, readings = rolled_up_readings
    WHERE (SELECT meter FROM every)
)
UPDATE vehicle_carried_sums
SET closes = rolled_up_to, kwh_delivered_dc = rolled_up_kwh, battery_temp_sum = rolled_up_battery_temp_sum,
    readings = rolled_up_readings
WHERE (SELECT vehicle FROM every);

-- name: forget_sums_before(hour, vehicle_ids, meter_ids)!
-- Deletes what was carried for windows that begin before this hour.
WITH meters AS (
    DELETE FROM meter_carried_sums WHERE meter_id = ANY(:meter_ids::text[]) AND hour < :hour
), vehicles AS (
    DELETE FROM vehicle_carried_sums WHERE vehicle_id = ANY(:vehicle_ids::text[]) AND hour < :hour
), meter_hours AS (
    DELETE FROM meter_leaving_hours WHERE meter_id = ANY(:meter_ids) AND hour < :hour
)
DELETE FROM vehicle_leaving_hours WHERE vehicle_id = ANY(:vehicle_ids) AND hour < :hour;
