-- migrate:up
-- Of folded readings, whether each is shown as it is (true) or a late one is shown in its place; NULL: all are as they are. Both sides
-- are hashed or sorted: a comparison of each with each takes minutes for a meter that sends every second.
CREATE FUNCTION are_kept(instants timestamptz[], replaced timestamptz[]) RETURNS boolean[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET enable_nestloop = off AS $$
BEGIN
    IF replaced = '{}' THEN
        RETURN NULL;
    END IF;
    RETURN (
        SELECT array_agg(late.recorded_at IS NULL ORDER BY number)
        FROM unnest(instants) WITH ORDINALITY AS folded (recorded_at, number)
        LEFT JOIN unnest(replaced) AS late (recorded_at) USING (recorded_at)
    );
END
$$;

-- An origin before all instants: date_bin() of some servers rounds whole milliseconds before its origin down by another one.
CREATE OR REPLACE FUNCTION whole_milliseconds(earlier timestamptz, later timestamptz) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN round(1000 * date_part('epoch', date_bin('1 millisecond', later, timestamptz '0001-01-01 00:00:00+00')
    - date_bin('1 millisecond', earlier, timestamptz '0001-01-01 00:00:00+00')));

CREATE OR REPLACE VIEW meter_readings AS
    SELECT history.meter_id, history.recorded_at, history.ingested_at, history.kwh_consumed_ac, history.voltage, history.derived,
        (history.recorded_at AT TIME ZONE 'UTC')::date AS day
    FROM meter_telemetry_history AS history
    WHERE history.recorded_at >= (SELECT folded_before FROM rollup_state)
        AND NOT EXISTS (
            SELECT FROM meter_late_readings AS late
            WHERE late.replaces AND late.meter_id = history.meter_id AND late.recorded_at = history.recorded_at
        )
    UNION ALL
    SELECT folded.meter_id, series.recorded_at[number],
        date_trunc('milliseconds', series.recorded_at[number]) + series.ingested_after[number] * interval '1 millisecond',
        series.kwh_consumed_ac[number], series.voltage[number], folded.derived[number], folded.day
    FROM meter_days AS folded
    CROSS JOIN LATERAL (
        SELECT decode_instants(folded.recorded) AS recorded_at, decode_series(folded.ingested) AS ingested_after,
            decode_series(folded.kwh_consumed_ac) AS kwh_consumed_ac, decode_series(folded.voltage) AS voltage,
            ARRAY(
                SELECT recorded_at FROM meter_late_readings AS late
                WHERE late.replaces AND late.meter_id = folded.meter_id AND late.recorded_at >= folded.day::timestamp AT TIME ZONE 'UTC'
                    AND late.recorded_at < (folded.day + 1)::timestamp AT TIME ZONE 'UTC'
            ) AS replaced
        OFFSET 0
    ) AS series
    CROSS JOIN LATERAL (SELECT are_kept(series.recorded_at, series.replaced) AS kept OFFSET 0) AS shown
    CROSS JOIN LATERAL generate_series(1, folded.readings) AS number
    WHERE folded.day < (SELECT first_day_not_folded()) AND shown.kept[number] IS NOT FALSE
    UNION ALL
    SELECT meter_id, recorded_at, ingested_at, kwh_consumed_ac, voltage, derived, (recorded_at AT TIME ZONE 'UTC')::date
    FROM meter_late_readings;

CREATE OR REPLACE VIEW register_readings AS
    SELECT history.meter_id, history.recorded_at, history.ingested_at, history.kwh_register, history.voltage, history.kwh_high,
        history.kwh_before, history.before_at, (history.recorded_at AT TIME ZONE 'UTC')::date AS day
    FROM meter_register_history AS history
    WHERE history.recorded_at >= (SELECT folded_before FROM rollup_state)
        AND NOT EXISTS (
            SELECT FROM register_late_readings AS late
            WHERE late.replaces AND late.meter_id = history.meter_id AND late.recorded_at = history.recorded_at
        )
    UNION ALL
    SELECT folded.meter_id, series.recorded_at[number],
        date_trunc('milliseconds', series.recorded_at[number]) + series.ingested_after[number] * interval '1 millisecond',
        series.kwh_register[number], series.voltage[number], series.kwh_high[number], series.kwh_before[number],
        series.recorded_at[number] + series.before_after[number] * interval '1 millisecond', folded.day
    FROM register_days AS folded
    CROSS JOIN LATERAL (
        SELECT decode_instants(folded.recorded) AS recorded_at, decode_series(folded.ingested) AS ingested_after,
            decode_series(folded.kwh_register) AS kwh_register, decode_series(folded.voltage) AS voltage,
            decode_series(folded.kwh_high) AS kwh_high, decode_series(folded.kwh_before) AS kwh_before,
            decode_series(folded.before_at) AS before_after,
            ARRAY(
                SELECT recorded_at FROM register_late_readings AS late
                WHERE late.replaces AND late.meter_id = folded.meter_id AND late.recorded_at >= folded.day::timestamp AT TIME ZONE 'UTC'
                    AND late.recorded_at < (folded.day + 1)::timestamp AT TIME ZONE 'UTC'
            ) AS replaced
        OFFSET 0
    ) AS series
    CROSS JOIN LATERAL (SELECT are_kept(series.recorded_at, series.replaced) AS kept OFFSET 0) AS shown
    CROSS JOIN LATERAL generate_series(1, folded.readings) AS number
    WHERE folded.day < (SELECT first_day_not_folded()) AND shown.kept[number] IS NOT FALSE
    UNION ALL
    SELECT meter_id, recorded_at, ingested_at, kwh_register, voltage, kwh_high, kwh_before, before_at,
        (recorded_at AT TIME ZONE 'UTC')::date
    FROM register_late_readings;

CREATE OR REPLACE FUNCTION fold_meter_day(meter text, folded_day date) RETURNS integer LANGUAGE plpgsql SET timezone = 'UTC' AS $$
DECLARE
    merges boolean := folded_day < first_day_not_folded();
    replaced timestamptz[] := ARRAY[]::timestamptz[]; -- folded readings of which a late one is another version
    source record;
    stored record;
BEGIN
    IF merges THEN
        PERFORM pg_advisory_xact_lock(hashtext('energy.merging')); -- writers of late readings share it
        replaced := ARRAY(
            SELECT recorded_at FROM meter_late_readings
            WHERE replaces AND meter_id = meter AND recorded_at >= folded_day AND recorded_at < folded_day + 1
        );
    END IF;
    SELECT array_agg(recorded_at) AS recorded, array_agg(ingested_after) AS ingested,
        array_agg(kwh_consumed_ac) AS kwh, array_agg(voltage) AS voltage,
        CASE WHEN bool_or(derived) THEN array_agg(derived) END AS derived
    INTO source
    FROM (
        SELECT recorded_at, whole_milliseconds(recorded_at, ingested_at) AS ingested_after, kwh_consumed_ac, voltage, derived
        FROM meter_telemetry_history
        WHERE NOT merges AND meter_id = meter AND recorded_at >= folded_day AND recorded_at < folded_day + 1
        UNION ALL
        SELECT recorded_at, ingested_after, folded.kwh_consumed_ac, folded.voltage, folded.derived
        FROM meter_days
        CROSS JOIN LATERAL unnest(
            decode_instants(recorded), decode_series(ingested), decode_series(kwh_consumed_ac), decode_series(voltage), derived,
            CASE WHEN replaced <> '{}' THEN are_kept(decode_instants(recorded), replaced) END
        ) AS folded (recorded_at, ingested_after, kwh_consumed_ac, voltage, derived, kept)
        WHERE merges AND kept IS NOT FALSE AND meter_id = meter AND day = folded_day
        UNION ALL
        SELECT recorded_at, whole_milliseconds(recorded_at, ingested_at) AS ingested_after, kwh_consumed_ac, voltage, derived
        FROM meter_late_readings
        WHERE merges AND meter_id = meter AND recorded_at >= folded_day AND recorded_at < folded_day + 1
        ORDER BY recorded_at
    ) AS reading;
    DELETE FROM meter_late_readings
        WHERE merges AND meter_id = meter AND recorded_at >= folded_day AND recorded_at < folded_day + 1;
    DELETE FROM meter_days WHERE meter_id = meter AND day = folded_day;
    IF source.recorded IS NULL THEN
        RETURN 0;
    END IF;

    INSERT INTO meter_days
        (meter_id, day, readings, recorded, ingested, kwh_consumed_ac, voltage, derived, hourly_readings, hourly_kwh_consumed_ac)
    SELECT meter, folded_day, cardinality(source.recorded), encode_instants(source.recorded), encode_series(source.ingested),
        encode_series(source.kwh), encode_series(source.voltage), source.derived,
        array_agg(coalesce(hourly.readings, 0) ORDER BY hour), array_agg(hourly.kwh ORDER BY hour)
    FROM generate_series(0, 23) AS hour
    LEFT JOIN (
        SELECT extract(hour FROM reading.recorded_at)::integer AS hour, count(*)::integer AS readings,
            sum(reading.kwh::numeric)::double precision AS kwh
        FROM unnest(source.recorded, source.kwh) AS reading (recorded_at, kwh)
        GROUP BY 1
    ) AS hourly USING (hour);

    SELECT decode_instants(recorded) AS recorded, decode_series(ingested) AS ingested,
        decode_series(kwh_consumed_ac) AS kwh, decode_series(voltage) AS voltage, derived
    INTO stored
    FROM meter_days WHERE meter_id = meter AND day = folded_day;
    IF stored IS DISTINCT FROM source THEN
        RAISE EXCEPTION 'the folded readings of meter % of % are not those that were stored', meter, folded_day
            USING ERRCODE = 'data_exception';
    END IF;
    RETURN cardinality(source.recorded);
END
$$;

CREATE OR REPLACE FUNCTION fold_register_day(meter text, folded_day date) RETURNS integer LANGUAGE plpgsql SET timezone = 'UTC' AS $$
DECLARE
    merges boolean := folded_day < first_day_not_folded();
    replaced timestamptz[] := ARRAY[]::timestamptz[]; -- folded readings of which a late one is another version
    source record;
    stored record;
BEGIN
    IF merges THEN
        PERFORM pg_advisory_xact_lock(hashtext('energy.merging')); -- writers of late readings share it
        replaced := ARRAY(
            SELECT recorded_at FROM register_late_readings
            WHERE replaces AND meter_id = meter AND recorded_at >= folded_day AND recorded_at < folded_day + 1
        );
    END IF;
    SELECT array_agg(recorded_at) AS recorded, array_agg(ingested_after) AS ingested,
        array_agg(kwh_register) AS register, array_agg(voltage) AS voltage, array_agg(kwh_high) AS high,
        array_agg(kwh_before) AS before, array_agg(before_after) AS before_at
    INTO source
    FROM (
        SELECT recorded_at, whole_milliseconds(recorded_at, ingested_at) AS ingested_after, kwh_register, voltage, kwh_high, kwh_before,
            exact_milliseconds(recorded_at, before_at) AS before_after
        FROM meter_register_history
        WHERE NOT merges AND meter_id = meter AND recorded_at >= folded_day AND recorded_at < folded_day + 1
        UNION ALL
        SELECT recorded_at, ingested_after, folded.kwh_register, folded.voltage, folded.kwh_high, folded.kwh_before, before_after
        FROM register_days
        CROSS JOIN LATERAL unnest(
            decode_instants(recorded), decode_series(ingested), decode_series(kwh_register), decode_series(voltage),
            decode_series(kwh_high), decode_series(kwh_before), decode_series(before_at),
            CASE WHEN replaced <> '{}' THEN are_kept(decode_instants(recorded), replaced) END
        ) AS folded (recorded_at, ingested_after, kwh_register, voltage, kwh_high, kwh_before, before_after, kept)
        WHERE merges AND kept IS NOT FALSE AND meter_id = meter AND day = folded_day
        UNION ALL
        SELECT recorded_at, whole_milliseconds(recorded_at, ingested_at) AS ingested_after, kwh_register, voltage, kwh_high, kwh_before,
            exact_milliseconds(recorded_at, before_at) AS before_after
        FROM register_late_readings
        WHERE merges AND meter_id = meter AND recorded_at >= folded_day AND recorded_at < folded_day + 1
        ORDER BY recorded_at
    ) AS reading;
    DELETE FROM register_late_readings
        WHERE merges AND meter_id = meter AND recorded_at >= folded_day AND recorded_at < folded_day + 1;
    DELETE FROM register_days WHERE meter_id = meter AND day = folded_day;
    IF source.recorded IS NULL THEN
        RETURN 0;
    END IF;

    INSERT INTO register_days
        (meter_id, day, readings, recorded, ingested, kwh_register, voltage, kwh_high, kwh_before, before_at)
    VALUES (
        meter, folded_day, cardinality(source.recorded), encode_instants(source.recorded), encode_series(source.ingested),
        encode_series(source.register), encode_series(source.voltage), encode_series(source.high), encode_series(source.before),
        encode_series(source.before_at)
    );

    SELECT decode_instants(recorded) AS recorded, decode_series(ingested) AS ingested, decode_series(kwh_register) AS register,
        decode_series(voltage) AS voltage, coalesce(decode_series(kwh_high), nothing) AS high,
        coalesce(decode_series(kwh_before), nothing) AS before, coalesce(decode_series(before_at), nothing) AS before_at
    INTO stored
    FROM register_days CROSS JOIN array_fill(NULL::double precision, ARRAY[readings]) AS nothing
    WHERE meter_id = meter AND day = folded_day;
    IF stored IS DISTINCT FROM source THEN
        RAISE EXCEPTION 'the folded registers of meter % of % are not those that were stored', meter, folded_day
            USING ERRCODE = 'data_exception';
    END IF;
    RETURN cardinality(source.recorded);
END
$$;

REVOKE EXECUTE ON FUNCTION are_kept FROM PUBLIC;
GRANT EXECUTE ON FUNCTION are_kept TO energy_reader, energy_writer;

-- migrate:down
CREATE OR REPLACE FUNCTION whole_milliseconds(earlier timestamptz, later timestamptz) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN round(1000 * date_part('epoch', date_bin('1 millisecond', later, timestamptz '2000-01-01 00:00:00+00')
    - date_bin('1 millisecond', earlier, timestamptz '2000-01-01 00:00:00+00')));

CREATE OR REPLACE VIEW meter_readings AS
    SELECT history.meter_id, history.recorded_at, history.ingested_at, history.kwh_consumed_ac, history.voltage, history.derived,
        (history.recorded_at AT TIME ZONE 'UTC')::date AS day
    FROM meter_telemetry_history AS history
    WHERE history.recorded_at >= (SELECT folded_before FROM rollup_state)
        AND NOT EXISTS (
            SELECT FROM meter_late_readings AS late
            WHERE late.replaces AND late.meter_id = history.meter_id AND late.recorded_at = history.recorded_at
        )
    UNION ALL
    SELECT folded.meter_id, series.recorded_at[number],
        date_trunc('milliseconds', series.recorded_at[number]) + series.ingested_after[number] * interval '1 millisecond',
        series.kwh_consumed_ac[number], series.voltage[number], folded.derived[number], folded.day
    FROM meter_days AS folded
    CROSS JOIN LATERAL (
        SELECT decode_instants(folded.recorded) AS recorded_at, decode_series(folded.ingested) AS ingested_after,
            decode_series(folded.kwh_consumed_ac) AS kwh_consumed_ac, decode_series(folded.voltage) AS voltage,
            ARRAY(
                SELECT recorded_at FROM meter_late_readings AS late
                WHERE late.replaces AND late.meter_id = folded.meter_id AND late.recorded_at >= folded.day::timestamp AT TIME ZONE 'UTC'
                    AND late.recorded_at < (folded.day + 1)::timestamp AT TIME ZONE 'UTC'
            ) AS replaced
        OFFSET 0
    ) AS series
    CROSS JOIN LATERAL generate_series(1, folded.readings) AS number
    WHERE folded.day < (SELECT first_day_not_folded()) AND series.recorded_at[number] <> ALL(series.replaced)
    UNION ALL
    SELECT meter_id, recorded_at, ingested_at, kwh_consumed_ac, voltage, derived, (recorded_at AT TIME ZONE 'UTC')::date
    FROM meter_late_readings;

CREATE OR REPLACE VIEW register_readings AS
    SELECT history.meter_id, history.recorded_at, history.ingested_at, history.kwh_register, history.voltage, history.kwh_high,
        history.kwh_before, history.before_at, (history.recorded_at AT TIME ZONE 'UTC')::date AS day
    FROM meter_register_history AS history
    WHERE history.recorded_at >= (SELECT folded_before FROM rollup_state)
        AND NOT EXISTS (
            SELECT FROM register_late_readings AS late
            WHERE late.replaces AND late.meter_id = history.meter_id AND late.recorded_at = history.recorded_at
        )
    UNION ALL
    SELECT folded.meter_id, series.recorded_at[number],
        date_trunc('milliseconds', series.recorded_at[number]) + series.ingested_after[number] * interval '1 millisecond',
        series.kwh_register[number], series.voltage[number], series.kwh_high[number], series.kwh_before[number],
        series.recorded_at[number] + series.before_after[number] * interval '1 millisecond', folded.day
    FROM register_days AS folded
    CROSS JOIN LATERAL (
        SELECT decode_instants(folded.recorded) AS recorded_at, decode_series(folded.ingested) AS ingested_after,
            decode_series(folded.kwh_register) AS kwh_register, decode_series(folded.voltage) AS voltage,
            decode_series(folded.kwh_high) AS kwh_high, decode_series(folded.kwh_before) AS kwh_before,
            decode_series(folded.before_at) AS before_after,
            ARRAY(
                SELECT recorded_at FROM register_late_readings AS late
                WHERE late.replaces AND late.meter_id = folded.meter_id AND late.recorded_at >= folded.day::timestamp AT TIME ZONE 'UTC'
                    AND late.recorded_at < (folded.day + 1)::timestamp AT TIME ZONE 'UTC'
            ) AS replaced
        OFFSET 0
    ) AS series
    CROSS JOIN LATERAL generate_series(1, folded.readings) AS number
    WHERE folded.day < (SELECT first_day_not_folded()) AND series.recorded_at[number] <> ALL(series.replaced)
    UNION ALL
    SELECT meter_id, recorded_at, ingested_at, kwh_register, voltage, kwh_high, kwh_before, before_at,
        (recorded_at AT TIME ZONE 'UTC')::date
    FROM register_late_readings;

CREATE OR REPLACE FUNCTION fold_meter_day(meter text, folded_day date) RETURNS integer LANGUAGE plpgsql SET timezone = 'UTC' AS $$
DECLARE
    merges boolean := folded_day < first_day_not_folded();
    replaced timestamptz[] := ARRAY[]::timestamptz[]; -- folded readings of which a late one is another version
    source record;
    stored record;
BEGIN
    IF merges THEN
        PERFORM pg_advisory_xact_lock(hashtext('energy.merging')); -- writers of late readings share it
        replaced := ARRAY(
            SELECT recorded_at FROM meter_late_readings
            WHERE replaces AND meter_id = meter AND recorded_at >= folded_day AND recorded_at < folded_day + 1
        );
    END IF;
    SELECT array_agg(recorded_at) AS recorded, array_agg(ingested_after) AS ingested,
        array_agg(kwh_consumed_ac) AS kwh, array_agg(voltage) AS voltage,
        CASE WHEN bool_or(derived) THEN array_agg(derived) END AS derived
    INTO source
    FROM (
        SELECT recorded_at, whole_milliseconds(recorded_at, ingested_at) AS ingested_after, kwh_consumed_ac, voltage, derived
        FROM meter_telemetry_history
        WHERE NOT merges AND meter_id = meter AND recorded_at >= folded_day AND recorded_at < folded_day + 1
        UNION ALL
        SELECT recorded_at, ingested_after, folded.kwh_consumed_ac, folded.voltage, folded.derived
        FROM meter_days
        CROSS JOIN LATERAL unnest(
            decode_instants(recorded), decode_series(ingested), decode_series(kwh_consumed_ac), decode_series(voltage), derived
        ) AS folded (recorded_at, ingested_after, kwh_consumed_ac, voltage, derived)
        WHERE merges AND recorded_at <> ALL(replaced) AND meter_id = meter AND day = folded_day
        UNION ALL
        SELECT recorded_at, whole_milliseconds(recorded_at, ingested_at) AS ingested_after, kwh_consumed_ac, voltage, derived
        FROM meter_late_readings
        WHERE merges AND meter_id = meter AND recorded_at >= folded_day AND recorded_at < folded_day + 1
        ORDER BY recorded_at
    ) AS reading;
    DELETE FROM meter_late_readings
        WHERE merges AND meter_id = meter AND recorded_at >= folded_day AND recorded_at < folded_day + 1;
    DELETE FROM meter_days WHERE meter_id = meter AND day = folded_day;
    IF source.recorded IS NULL THEN
        RETURN 0;
    END IF;

    INSERT INTO meter_days
        (meter_id, day, readings, recorded, ingested, kwh_consumed_ac, voltage, derived, hourly_readings, hourly_kwh_consumed_ac)
    SELECT meter, folded_day, cardinality(source.recorded), encode_instants(source.recorded), encode_series(source.ingested),
        encode_series(source.kwh), encode_series(source.voltage), source.derived,
        array_agg(coalesce(hourly.readings, 0) ORDER BY hour), array_agg(hourly.kwh ORDER BY hour)
    FROM generate_series(0, 23) AS hour
    LEFT JOIN (
        SELECT extract(hour FROM reading.recorded_at)::integer AS hour, count(*)::integer AS readings,
            sum(reading.kwh::numeric)::double precision AS kwh
        FROM unnest(source.recorded, source.kwh) AS reading (recorded_at, kwh)
        GROUP BY 1
    ) AS hourly USING (hour);

    SELECT decode_instants(recorded) AS recorded, decode_series(ingested) AS ingested,
        decode_series(kwh_consumed_ac) AS kwh, decode_series(voltage) AS voltage, derived
    INTO stored
    FROM meter_days WHERE meter_id = meter AND day = folded_day;
    IF stored IS DISTINCT FROM source THEN
        RAISE EXCEPTION 'the folded readings of meter % of % are not those that were stored', meter, folded_day
            USING ERRCODE = 'data_exception';
    END IF;
    RETURN cardinality(source.recorded);
END
$$;

CREATE OR REPLACE FUNCTION fold_register_day(meter text, folded_day date) RETURNS integer LANGUAGE plpgsql SET timezone = 'UTC' AS $$
DECLARE
    merges boolean := folded_day < first_day_not_folded();
    replaced timestamptz[] := ARRAY[]::timestamptz[]; -- folded readings of which a late one is another version
    source record;
    stored record;
BEGIN
    IF merges THEN
        PERFORM pg_advisory_xact_lock(hashtext('energy.merging')); -- writers of late readings share it
        replaced := ARRAY(
            SELECT recorded_at FROM register_late_readings
            WHERE replaces AND meter_id = meter AND recorded_at >= folded_day AND recorded_at < folded_day + 1
        );
    END IF;
    SELECT array_agg(recorded_at) AS recorded, array_agg(ingested_after) AS ingested,
        array_agg(kwh_register) AS register, array_agg(voltage) AS voltage, array_agg(kwh_high) AS high,
        array_agg(kwh_before) AS before, array_agg(before_after) AS before_at
    INTO source
    FROM (
        SELECT recorded_at, whole_milliseconds(recorded_at, ingested_at) AS ingested_after, kwh_register, voltage, kwh_high, kwh_before,
            exact_milliseconds(recorded_at, before_at) AS before_after
        FROM meter_register_history
        WHERE NOT merges AND meter_id = meter AND recorded_at >= folded_day AND recorded_at < folded_day + 1
        UNION ALL
        SELECT recorded_at, ingested_after, folded.kwh_register, folded.voltage, folded.kwh_high, folded.kwh_before, before_after
        FROM register_days
        CROSS JOIN LATERAL unnest(
            decode_instants(recorded), decode_series(ingested), decode_series(kwh_register), decode_series(voltage),
            decode_series(kwh_high), decode_series(kwh_before), decode_series(before_at)
        ) AS folded (recorded_at, ingested_after, kwh_register, voltage, kwh_high, kwh_before, before_after)
        WHERE merges AND recorded_at <> ALL(replaced) AND meter_id = meter AND day = folded_day
        UNION ALL
        SELECT recorded_at, whole_milliseconds(recorded_at, ingested_at) AS ingested_after, kwh_register, voltage, kwh_high, kwh_before,
            exact_milliseconds(recorded_at, before_at) AS before_after
        FROM register_late_readings
        WHERE merges AND meter_id = meter AND recorded_at >= folded_day AND recorded_at < folded_day + 1
        ORDER BY recorded_at
    ) AS reading;
    DELETE FROM register_late_readings
        WHERE merges AND meter_id = meter AND recorded_at >= folded_day AND recorded_at < folded_day + 1;
    DELETE FROM register_days WHERE meter_id = meter AND day = folded_day;
    IF source.recorded IS NULL THEN
        RETURN 0;
    END IF;

    INSERT INTO register_days
        (meter_id, day, readings, recorded, ingested, kwh_register, voltage, kwh_high, kwh_before, before_at)
    VALUES (
        meter, folded_day, cardinality(source.recorded), encode_instants(source.recorded), encode_series(source.ingested),
        encode_series(source.register), encode_series(source.voltage), encode_series(source.high), encode_series(source.before),
        encode_series(source.before_at)
    );

    SELECT decode_instants(recorded) AS recorded, decode_series(ingested) AS ingested, decode_series(kwh_register) AS register,
        decode_series(voltage) AS voltage, coalesce(decode_series(kwh_high), nothing) AS high,
        coalesce(decode_series(kwh_before), nothing) AS before, coalesce(decode_series(before_at), nothing) AS before_at
    INTO stored
    FROM register_days CROSS JOIN array_fill(NULL::double precision, ARRAY[readings]) AS nothing
    WHERE meter_id = meter AND day = folded_day;
    IF stored IS DISTINCT FROM source THEN
        RAISE EXCEPTION 'the folded registers of meter % of % are not those that were stored', meter, folded_day
            USING ERRCODE = 'data_exception';
    END IF;
    RETURN cardinality(source.recorded);
END
$$;
DROP FUNCTION are_kept;
