-- migrate:up
-- A period that begins or ends within an hour decodes one hour of a folded day, not all of it.

-- The numbers at positions `first` to `last`, as far as there are any.
CREATE FUNCTION decode_series(series number_series, first integer, last integer) RETURNS double precision[]
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    factor double precision := power(10::double precision, series.decimals);
    differences double precision[];
    before double precision;
BEGIN
    IF series.exact IS NOT NULL THEN
        RETURN series.exact[first:last];
    ELSIF series.differences THEN -- sums of integers below 2^53 are exact as doubles, and much faster than as numeric
        differences := coalesce(series.small::double precision[], series.medium::double precision[], series.large::double precision[]);
        before := coalesce((SELECT sum(difference) FROM unnest(differences[:first - 1]) AS difference), 0);
        RETURN ARRAY(
            SELECT (before + sum(difference) OVER (ROWS UNBOUNDED PRECEDING)) / factor
            FROM unnest(differences[first:last]) AS difference
        );
    ELSIF series.small IS NOT NULL THEN -- without a cast of the array, because this is what is decoded most often
        RETURN ARRAY(SELECT integer / factor FROM unnest(series.small[first:last]) AS integer);
    ELSIF series.medium IS NOT NULL THEN
        RETURN ARRAY(SELECT integer / factor FROM unnest(series.medium[first:last]) AS integer);
    END IF;
    RETURN ARRAY(SELECT integer / factor FROM unnest(series.large[first:last]) AS integer);
END
$$;

CREATE FUNCTION decode_instants(series instant_series, first integer, last integer) RETURNS timestamptz[]
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    before double precision;
BEGIN
    IF series.minutes IS NULL THEN
        RETURN ARRAY(
            SELECT series.first_at + ((first + position - 2) * 60000 + deviation) * interval '1 millisecond'
            FROM unnest(decode_series(series.deviations, first, last)) WITH ORDINALITY AS reading (deviation, position)
        );
    END IF;
    before := coalesce((SELECT sum(minute) FROM unnest(decode_series(series.minutes, 1, first - 1)) AS minute), 0);
    RETURN ARRAY(
        SELECT series.first_at + (sum(minute) OVER (ROWS UNBOUNDED PRECEDING) * 60000 + deviation) * interval '1 millisecond'
        FROM unnest(
            array_prepend(before, decode_series(series.minutes, first, last - 1)), decode_series(series.deviations, first, last)
        ) AS reading (minute, deviation)
        WHERE deviation IS NOT NULL -- there is a first minute even if there is no reading
    );
END
$$;

-- All of a series is the part without limits.
CREATE OR REPLACE FUNCTION decode_series(series number_series) RETURNS double precision[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN decode_series(series, 1, 2147483647);

CREATE OR REPLACE FUNCTION decode_instants(series instant_series) RETURNS timestamptz[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN decode_instants(series, 1, 2147483647);

-- Positions of the readings of a folded day in those of its hours that [opens, closes) touches. No row: there is no reading in them.
CREATE FUNCTION positions_during(opens timestamptz, closes timestamptz, day date, hourly_readings integer[])
RETURNS TABLE (first integer, last integer) LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT earlier + 1, through FROM (
        SELECT coalesce(sum(readings) FILTER (WHERE begins <= opens - interval '1 hour'), 0)::integer AS earlier,
            coalesce(sum(readings) FILTER (WHERE begins < closes), 0)::integer AS through
        FROM ROWS FROM (
            generate_series(day::timestamp AT TIME ZONE 'UTC', day::timestamp AT TIME ZONE 'UTC' + interval '23 hours', interval '1 hour'),
            unnest(hourly_readings)
        ) AS hourly (begins, readings)
    ) AS numbers
    WHERE earlier < through
$$;

-- Readings of one device during [opens, closes), of all levels.
CREATE FUNCTION meter_readings_during(meter text, opens timestamptz, closes timestamptz)
RETURNS TABLE (recorded_at timestamptz, kwh_consumed_ac double precision)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT history.recorded_at, history.kwh_consumed_ac
    FROM meter_telemetry_history AS history
    WHERE history.meter_id = meter AND history.recorded_at >= opens AND history.recorded_at < closes
        AND history.recorded_at >= (SELECT folded_before FROM rollup_state)
        AND NOT EXISTS (
            SELECT FROM meter_late_readings AS late
            WHERE late.replaces AND late.meter_id = history.meter_id AND late.recorded_at = history.recorded_at
        )
    UNION ALL
    SELECT series.recorded_at[number], series.kwh_consumed_ac[number]
    FROM meter_days AS folded
    CROSS JOIN LATERAL positions_during(opens, closes, folded.day, folded.hourly_readings) AS part
    CROSS JOIN LATERAL (
        SELECT decode_instants(folded.recorded, part.first, part.last) AS recorded_at,
            decode_series(folded.kwh_consumed_ac, part.first, part.last) AS kwh_consumed_ac,
            ARRAY(
                SELECT late.recorded_at FROM meter_late_readings AS late
                WHERE late.replaces AND late.meter_id = meter AND late.recorded_at >= opens AND late.recorded_at < closes
            ) AS replaced
        OFFSET 0
    ) AS series
    CROSS JOIN LATERAL (SELECT are_kept(series.recorded_at, series.replaced) AS kept OFFSET 0) AS shown
    CROSS JOIN LATERAL generate_series(1, part.last - part.first + 1) AS number
    WHERE folded.meter_id = meter AND folded.day >= utc_day(opens) AND folded.day <= utc_day(closes - interval '1 microsecond')
        AND folded.day < (SELECT first_day_not_folded()) AND shown.kept[number] IS NOT FALSE
        AND series.recorded_at[number] >= opens AND series.recorded_at[number] < closes
    UNION ALL
    SELECT recorded_at, kwh_consumed_ac FROM meter_late_readings
    WHERE meter_id = meter AND recorded_at >= opens AND recorded_at < closes
$$;

CREATE FUNCTION vehicle_readings_during(vehicle text, opens timestamptz, closes timestamptz)
RETURNS TABLE (recorded_at timestamptz, kwh_delivered_dc double precision, soc double precision, battery_temp double precision)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT recorded_at, kwh_delivered_dc, soc, battery_temp FROM vehicle_telemetry_history
    WHERE vehicle_id = vehicle AND recorded_at >= opens AND recorded_at < closes
        AND recorded_at >= (SELECT folded_before FROM rollup_state)
    UNION ALL
    SELECT series.recorded_at[number], series.kwh_delivered_dc[number], series.soc[number], series.battery_temp[number]
    FROM vehicle_days AS folded
    CROSS JOIN LATERAL positions_during(opens, closes, folded.day, folded.hourly_readings) AS part
    CROSS JOIN LATERAL (
        SELECT decode_instants(folded.recorded, part.first, part.last) AS recorded_at,
            decode_series(folded.kwh_delivered_dc, part.first, part.last) AS kwh_delivered_dc,
            decode_series(folded.soc, part.first, part.last) AS soc,
            decode_series(folded.battery_temp, part.first, part.last) AS battery_temp
        OFFSET 0
    ) AS series
    CROSS JOIN LATERAL generate_series(1, part.last - part.first + 1) AS number
    WHERE folded.vehicle_id = vehicle AND folded.day >= utc_day(opens) AND folded.day <= utc_day(closes - interval '1 microsecond')
        AND folded.day < (SELECT first_day_not_folded())
        AND series.recorded_at[number] >= opens AND series.recorded_at[number] < closes
    UNION ALL
    SELECT recorded_at, kwh_delivered_dc, soc, battery_temp FROM vehicle_late_readings
    WHERE vehicle_id = vehicle AND recorded_at >= opens AND recorded_at < closes
$$;

-- Sums of hours as before. The beginnings of the hours are made once, and not from their numbers for each condition on them.
CREATE OR REPLACE VIEW meter_hours AS
    SELECT meter_id, hour, kwh_consumed_ac, readings, utc_day(hour) AS day
    FROM meter_energy_hourly
    WHERE hour >= (SELECT folded_before FROM rollup_state)
    UNION ALL
    SELECT folded.meter_id, sums.hour, sums.kwh_consumed_ac, sums.readings, folded.day
    FROM meter_days AS folded
    CROSS JOIN LATERAL ROWS FROM (
        generate_series(
            folded.day::timestamp AT TIME ZONE 'UTC', folded.day::timestamp AT TIME ZONE 'UTC' + interval '23 hours', interval '1 hour'
        ),
        unnest(folded.hourly_kwh_consumed_ac), unnest(folded.hourly_readings)
    ) AS sums (hour, kwh_consumed_ac, readings)
    WHERE folded.day < (SELECT first_day_not_folded()) AND sums.readings > 0;

CREATE OR REPLACE VIEW vehicle_hours AS
    SELECT vehicle_id, hour, kwh_delivered_dc, battery_temp_sum, battery_temp_max, soc_min, soc_max, readings, utc_day(hour) AS day
    FROM vehicle_energy_hourly
    WHERE hour >= (SELECT folded_before FROM rollup_state)
    UNION ALL
    SELECT folded.vehicle_id, sums.hour, sums.kwh_delivered_dc, sums.battery_temp_sum, sums.battery_temp_max, sums.soc_min, sums.soc_max,
        sums.readings, folded.day
    FROM vehicle_days AS folded
    CROSS JOIN LATERAL ROWS FROM (
        generate_series(
            folded.day::timestamp AT TIME ZONE 'UTC', folded.day::timestamp AT TIME ZONE 'UTC' + interval '23 hours', interval '1 hour'
        ),
        unnest(folded.hourly_kwh_delivered_dc), unnest(folded.hourly_battery_temp_sum), unnest(folded.hourly_battery_temp_max),
        unnest(folded.hourly_soc_min), unnest(folded.hourly_soc_max), unnest(folded.hourly_readings)
    ) AS sums (hour, kwh_delivered_dc, battery_temp_sum, battery_temp_max, soc_min, soc_max, readings)
    WHERE folded.day < (SELECT first_day_not_folded()) AND sums.readings > 0;

-- STABLE, as the addition in it is: the planner does not insert it into a query otherwise, and calling it takes longer than the rest.
ALTER FUNCTION first_whole_hour STABLE;

-- The rest of a period, before and after its whole hours.
DROP FUNCTION around_whole_hours;
CREATE FUNCTION around_whole_hours(begins timestamptz, ends timestamptz, complete_before timestamptz)
RETURNS TABLE (opens timestamptz, closes timestamptz) LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT part.*
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
            SELECT hour, hour + interval '1 hour' FROM changed
        ) AS rest
        CROSS JOIN LATERAL (
            SELECT sum(kwh_consumed_ac), count(*) FROM meter_readings_during(meter, rest.opens, rest.closes)
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
            SELECT hour, hour + interval '1 hour' FROM changed
        ) AS rest
        CROSS JOIN LATERAL (
            SELECT sum(kwh_delivered_dc), count(*), sum(battery_temp), max(battery_temp), min(soc), max(soc)
            FROM vehicle_readings_during(vehicle, rest.opens, rest.closes)
        ) AS summed
    ) AS part
$$;

REVOKE EXECUTE ON FUNCTION decode_series(number_series, integer, integer), decode_instants(instant_series, integer, integer),
    positions_during, meter_readings_during, vehicle_readings_during, around_whole_hours FROM PUBLIC;
GRANT EXECUTE ON FUNCTION decode_series(number_series, integer, integer), decode_instants(instant_series, integer, integer)
    TO energy_reader, energy_writer;
GRANT EXECUTE ON FUNCTION positions_during, meter_readings_during, vehicle_readings_during, around_whole_hours TO energy_reader;

-- migrate:down
ALTER FUNCTION first_whole_hour IMMUTABLE;

DROP FUNCTION around_whole_hours;
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
REVOKE EXECUTE ON FUNCTION around_whole_hours FROM PUBLIC;
GRANT EXECUTE ON FUNCTION around_whole_hours TO energy_reader;

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

CREATE OR REPLACE VIEW meter_hours AS
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

CREATE OR REPLACE VIEW vehicle_hours AS
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

DROP FUNCTION vehicle_readings_during, meter_readings_during, positions_during;

CREATE OR REPLACE FUNCTION decode_series(series number_series) RETURNS double precision[]
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    factor double precision := power(10::double precision, series.decimals);
BEGIN
    IF series.exact IS NOT NULL THEN
        RETURN series.exact;
    ELSIF series.differences THEN -- sums of integers below 2^53 are exact as doubles, and much faster than as numeric
        RETURN ARRAY(
            SELECT sum(difference) OVER (ROWS UNBOUNDED PRECEDING) / factor
            FROM unnest(
                coalesce(series.small::double precision[], series.medium::double precision[], series.large::double precision[])
            ) AS difference
        );
    ELSIF series.small IS NOT NULL THEN -- without a cast of the array, because this is what is decoded most often
        RETURN ARRAY(SELECT integer / factor FROM unnest(series.small) AS integer);
    ELSIF series.medium IS NOT NULL THEN
        RETURN ARRAY(SELECT integer / factor FROM unnest(series.medium) AS integer);
    END IF;
    RETURN ARRAY(SELECT integer / factor FROM unnest(series.large) AS integer);
END
$$;

CREATE OR REPLACE FUNCTION decode_instants(series instant_series) RETURNS timestamptz[]
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF series.minutes IS NULL THEN
        RETURN ARRAY(
            SELECT series.first_at + ((position - 1) * 60000 + deviation) * interval '1 millisecond'
            FROM unnest(decode_series(series.deviations)) WITH ORDINALITY AS reading (deviation, position)
        );
    END IF;
    RETURN ARRAY(
        SELECT series.first_at
            + (sum(minute) OVER (ROWS UNBOUNDED PRECEDING) * 60000 + deviation) * interval '1 millisecond'
        FROM unnest(array_prepend(0::double precision, decode_series(series.minutes)), decode_series(series.deviations))
            AS reading (minute, deviation)
    );
END
$$;

DROP FUNCTION decode_instants(instant_series, integer, integer), decode_series(number_series, integer, integer);
