-- migrate:up
-- Energy of rows, folded rows and late readings alike. Whole hours come from the sums of hours, of rows and of folded days, unless a
-- reading has come since; everything else comes from the readings.
CREATE FUNCTION utc_day(instant timestamptz) RETURNS date LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (instant AT TIME ZONE 'UTC')::date;

-- Sums of each hour that has readings, without those that have come since it was summed: changed_hours has these hours.
-- `day` is its day in UTC: a condition on it spares the folded rows of other days.
CREATE VIEW meter_hours AS
    SELECT meter_id, hour, kwh_consumed_ac, readings, utc_day(hour) AS day
    FROM meter_energy_hourly
    WHERE hour >= (SELECT folded_before FROM rollup_state)
    UNION ALL
    SELECT folded.meter_id, folded.day::timestamp AT TIME ZONE 'UTC' + (sums.number - 1) * interval '1 hour', sums.kwh_consumed_ac,
        sums.readings, folded.day
    FROM meter_days AS folded
    CROSS JOIN LATERAL unnest(folded.hourly_kwh_consumed_ac, folded.hourly_readings)
        WITH ORDINALITY AS sums (kwh_consumed_ac, readings, number)
    WHERE folded.day < (SELECT first_day_not_folded()) AND sums.readings > 0;

CREATE VIEW vehicle_hours AS
    SELECT vehicle_id, hour, kwh_delivered_dc, battery_temp_sum, battery_temp_max, soc_min, soc_max, readings, utc_day(hour) AS day
    FROM vehicle_energy_hourly
    WHERE hour >= (SELECT folded_before FROM rollup_state)
    UNION ALL
    SELECT folded.vehicle_id, folded.day::timestamp AT TIME ZONE 'UTC' + (sums.number - 1) * interval '1 hour',
        sums.kwh_delivered_dc, sums.battery_temp_sum, sums.battery_temp_max, sums.soc_min, sums.soc_max, sums.readings, folded.day
    FROM vehicle_days AS folded
    CROSS JOIN LATERAL unnest(
        folded.hourly_kwh_delivered_dc, folded.hourly_battery_temp_sum, folded.hourly_battery_temp_max, folded.hourly_soc_min,
        folded.hourly_soc_max, folded.hourly_readings
    ) WITH ORDINALITY AS sums (kwh_delivered_dc, battery_temp_sum, battery_temp_max, soc_min, soc_max, readings, number)
    WHERE folded.day < (SELECT first_day_not_folded()) AND sums.readings > 0;

-- Hours that readings have changed since they were summed. device_id '' stands for all devices of that side. `changed_at` is within
-- the hour: a condition on it, beside the one on the device, uses the indexes.
CREATE VIEW changed_hours AS
    SELECT side, device_id, hour, hour AS changed_at FROM late_hours
    UNION ALL
    SELECT 'meter', meter_id, date_trunc('hour', recorded_at, 'UTC'), recorded_at FROM meter_late_readings
    UNION ALL
    SELECT 'vehicle', vehicle_id, date_trunc('hour', recorded_at, 'UTC'), recorded_at FROM vehicle_late_readings;

-- The part of a period that sums of hours can answer: its whole hours before `complete_before`. No row: there is none.
CREATE FUNCTION whole_hours(begins timestamptz, ends timestamptz, complete_before timestamptz)
RETURNS TABLE (opens timestamptz, closes timestamptz, first_day date, last_day date) LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT whole.*, utc_day(whole.opens), utc_day(whole.closes - interval '1 microsecond')
    FROM (SELECT first_whole_hour(begins) AS opens, last_whole_hour(ends, complete_before) AS closes) AS whole
    WHERE whole.opens < whole.closes
$$;

-- The rest of the period, before and after these hours.
CREATE FUNCTION around_whole_hours(begins timestamptz, ends timestamptz, complete_before timestamptz)
RETURNS TABLE (opens timestamptz, closes timestamptz, first_day date, last_day date) LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT part.*, utc_day(part.opens), utc_day(part.closes - interval '1 microsecond')
    FROM (
        SELECT begins AS opens, least(ends, first_whole_hour(begins)) AS closes
        UNION ALL
        SELECT greatest(first_whole_hour(begins), last_whole_hour(ends, complete_before)), ends
    ) AS part
    WHERE part.opens < part.closes
$$;

-- Energy of one meter during [opens, closes) in kWh, and the number of readings.
CREATE OR REPLACE FUNCTION meter_energy(meter text, opens timestamptz, closes timestamptz, complete_before timestamptz)
RETURNS TABLE (kwh double precision, readings bigint) LANGUAGE sql STABLE PARALLEL SAFE AS $$
    WITH whole AS MATERIALIZED (
        SELECT * FROM whole_hours(opens, closes, complete_before)
    ), changed AS MATERIALIZED (
        SELECT late.hour FROM whole CROSS JOIN LATERAL (
            SELECT DISTINCT hour FROM changed_hours
            WHERE side = 'meter' AND device_id IN (meter, '') AND changed_at >= whole.opens AND changed_at < whole.closes
        ) AS late
    )
    SELECT sum(part.kwh), coalesce(sum(part.readings), 0)::bigint FROM (
        SELECT summed.* FROM whole CROSS JOIN LATERAL (
            SELECT sum(kwh_consumed_ac) AS kwh, sum(hourly.readings) AS readings
            FROM meter_hours AS hourly
            WHERE meter_id = meter AND hour >= whole.opens AND hour < whole.closes AND hour NOT IN (SELECT hour FROM changed)
                AND day >= whole.first_day AND day <= whole.last_day
        ) AS summed
        UNION ALL
        SELECT summed.* FROM (
            SELECT * FROM around_whole_hours(opens, closes, complete_before)
            UNION ALL
            SELECT hour, hour + interval '1 hour', utc_day(hour), utc_day(hour) FROM changed
        ) AS rest
        CROSS JOIN LATERAL (
            SELECT sum(kwh_consumed_ac), count(*)
            FROM meter_readings
            WHERE meter_id = meter AND recorded_at >= rest.opens AND recorded_at < rest.closes
                AND day >= rest.first_day AND day <= rest.last_day
        ) AS summed
    ) AS part
$$;

-- Energy and battery of one vehicle during [opens, closes).
CREATE OR REPLACE FUNCTION vehicle_energy(vehicle text, opens timestamptz, closes timestamptz, complete_before timestamptz)
RETURNS TABLE (kwh double precision, readings bigint, battery_temp_sum double precision, battery_temp_max double precision,
               soc_min double precision, soc_max double precision)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    WITH whole AS MATERIALIZED (
        SELECT * FROM whole_hours(opens, closes, complete_before)
    ), changed AS MATERIALIZED (
        SELECT late.hour FROM whole CROSS JOIN LATERAL (
            SELECT DISTINCT hour FROM changed_hours
            WHERE side = 'vehicle' AND device_id IN (vehicle, '') AND changed_at >= whole.opens AND changed_at < whole.closes
        ) AS late
    )
    SELECT sum(part.kwh), coalesce(sum(part.readings), 0)::bigint, sum(part.temp_sum), max(part.temp_max),
        min(part.soc_min), max(part.soc_max)
    FROM (
        SELECT summed.* FROM whole CROSS JOIN LATERAL (
            SELECT sum(kwh_delivered_dc) AS kwh, sum(hourly.readings) AS readings, sum(hourly.battery_temp_sum) AS temp_sum,
                max(hourly.battery_temp_max) AS temp_max, min(hourly.soc_min) AS soc_min, max(hourly.soc_max) AS soc_max
            FROM vehicle_hours AS hourly
            WHERE vehicle_id = vehicle AND hour >= whole.opens AND hour < whole.closes AND hour NOT IN (SELECT hour FROM changed)
                AND day >= whole.first_day AND day <= whole.last_day
        ) AS summed
        UNION ALL
        SELECT summed.* FROM (
            SELECT * FROM around_whole_hours(opens, closes, complete_before)
            UNION ALL
            SELECT hour, hour + interval '1 hour', utc_day(hour), utc_day(hour) FROM changed
        ) AS rest
        CROSS JOIN LATERAL (
            SELECT sum(kwh_delivered_dc), count(*), sum(battery_temp), max(battery_temp), min(soc), max(soc)
            FROM vehicle_readings
            WHERE vehicle_id = vehicle AND recorded_at >= rest.opens AND recorded_at < rest.closes
                AND day >= rest.first_day AND day <= rest.last_day
        ) AS summed
    ) AS part
$$;

REVOKE EXECUTE ON FUNCTION utc_day, whole_hours, around_whole_hours FROM PUBLIC;
GRANT EXECUTE ON FUNCTION utc_day, whole_hours, around_whole_hours TO energy_reader;
GRANT SELECT ON meter_hours, vehicle_hours, changed_hours TO energy_reader;

-- migrate:down
-- Energy of one meter during [opens, closes) in kWh, and the number of readings.
CREATE OR REPLACE FUNCTION meter_energy(meter text, opens timestamptz, closes timestamptz, complete_before timestamptz)
RETURNS TABLE (kwh double precision, readings bigint) LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT sum(part.kwh), coalesce(sum(part.readings), 0)::bigint FROM (
        SELECT hourly.kwh_consumed_ac AS kwh, hourly.readings
        FROM meter_energy_hourly AS hourly
        WHERE hourly.meter_id = meter
            AND hourly.hour >= first_whole_hour(opens) AND hourly.hour < last_whole_hour(closes, complete_before)
            AND NOT EXISTS (
                SELECT FROM late_hours AS late
                WHERE late.side = 'meter' AND late.device_id IN (meter, '') AND late.hour = hourly.hour
            )
        UNION ALL
        SELECT history.kwh_consumed_ac, 1
        FROM (
            SELECT opens, least(closes, first_whole_hour(opens)) AS closes
            UNION ALL
            SELECT greatest(first_whole_hour(opens), last_whole_hour(closes, complete_before)), closes
            UNION ALL
            SELECT DISTINCT late.hour, late.hour + interval '1 hour'
            FROM late_hours AS late
            WHERE late.side = 'meter' AND late.device_id IN (meter, '')
                AND late.hour >= first_whole_hour(opens) AND late.hour < last_whole_hour(closes, complete_before)
        ) AS unrolled
        JOIN meter_telemetry_history AS history
            ON history.meter_id = meter AND history.recorded_at >= unrolled.opens AND history.recorded_at < unrolled.closes
    ) AS part
$$;

-- Energy and battery of one vehicle during [opens, closes).
CREATE OR REPLACE FUNCTION vehicle_energy(vehicle text, opens timestamptz, closes timestamptz, complete_before timestamptz)
RETURNS TABLE (kwh double precision, readings bigint, battery_temp_sum double precision, battery_temp_max double precision,
               soc_min double precision, soc_max double precision)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT sum(part.kwh), coalesce(sum(part.readings), 0)::bigint, sum(part.temp_sum), max(part.temp_max),
        min(part.soc_min), max(part.soc_max)
    FROM (
        SELECT hourly.kwh_delivered_dc AS kwh, hourly.readings, hourly.battery_temp_sum AS temp_sum,
            hourly.battery_temp_max AS temp_max, hourly.soc_min, hourly.soc_max
        FROM vehicle_energy_hourly AS hourly
        WHERE hourly.vehicle_id = vehicle
            AND hourly.hour >= first_whole_hour(opens) AND hourly.hour < last_whole_hour(closes, complete_before)
            AND NOT EXISTS (
                SELECT FROM late_hours AS late
                WHERE late.side = 'vehicle' AND late.device_id IN (vehicle, '') AND late.hour = hourly.hour
            )
        UNION ALL
        SELECT history.kwh_delivered_dc, 1, history.battery_temp, history.battery_temp, history.soc, history.soc
        FROM (
            SELECT opens, least(closes, first_whole_hour(opens)) AS closes
            UNION ALL
            SELECT greatest(first_whole_hour(opens), last_whole_hour(closes, complete_before)), closes
            UNION ALL
            SELECT DISTINCT late.hour, late.hour + interval '1 hour'
            FROM late_hours AS late
            WHERE late.side = 'vehicle' AND late.device_id IN (vehicle, '')
                AND late.hour >= first_whole_hour(opens) AND late.hour < last_whole_hour(closes, complete_before)
        ) AS unrolled
        JOIN vehicle_telemetry_history AS history
            ON history.vehicle_id = vehicle AND history.recorded_at >= unrolled.opens AND history.recorded_at < unrolled.closes
    ) AS part
$$;
DROP FUNCTION around_whole_hours, whole_hours;
DROP VIEW changed_hours, vehicle_hours, meter_hours;
DROP FUNCTION utc_day;
