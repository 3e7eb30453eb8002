-- migrate:up
-- History has levels. Readings of the last days are rows of *_telemetry_history and meter_register_history. A day that has ended is
-- folded: one row for each device, whose columns are series of the day's readings. What arrives for such a day afterwards is kept in
-- the *_late_readings, until it is merged into the device's row. The views *_readings show all of them, one row a reading.

-- `folding_before` advances first: readings of earlier days are written to the late readings, so these days cannot change any more.
-- `folded_before` follows when all days before it are folded: from then on their readings come from the folded rows.
ALTER TABLE rollup_state
    ADD COLUMN folding_before timestamptz NOT NULL DEFAULT '-infinity',
    ADD COLUMN folded_before timestamptz NOT NULL DEFAULT '-infinity',
    ADD CONSTRAINT folding_begins_first CHECK (folded_before <= folding_before);

CREATE FUNCTION first_day_not_folded() RETURNS date LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT (folded_before AT TIME ZONE 'UTC')::date FROM rollup_state
$$;

CREATE TABLE meter_days (
    day date NOT NULL,
    readings integer NOT NULL CHECK (readings > 0),
    meter_id text COLLATE "C" NOT NULL,
    recorded instant_series NOT NULL,
    ingested number_series NOT NULL,
    kwh_consumed_ac number_series NOT NULL,
    voltage number_series NOT NULL,
    derived boolean[],
    hourly_readings integer[] NOT NULL,
    hourly_kwh_consumed_ac double precision[] NOT NULL,
    PRIMARY KEY (meter_id, day)
) PARTITION BY RANGE (day);
COMMENT ON COLUMN meter_days.ingested IS 'milliseconds after recorded_at; what is finer is lost';
COMMENT ON COLUMN meter_days.derived IS 'NULL: of no reading';
COMMENT ON COLUMN meter_days.hourly_readings IS 'of each hour of the day, 24 of them';
COMMENT ON COLUMN meter_days.hourly_kwh_consumed_ac IS 'of each hour of the day; NULL: no reading';

CREATE TABLE vehicle_days (
    day date NOT NULL,
    readings integer NOT NULL CHECK (readings > 0),
    vehicle_id text COLLATE "C" NOT NULL,
    recorded instant_series NOT NULL,
    ingested number_series NOT NULL,
    kwh_delivered_dc number_series NOT NULL,
    soc number_series NOT NULL,
    battery_temp number_series NOT NULL,
    hourly_readings integer[] NOT NULL,
    hourly_kwh_delivered_dc double precision[] NOT NULL,
    hourly_battery_temp_sum double precision[] NOT NULL,
    hourly_battery_temp_max double precision[] NOT NULL,
    hourly_soc_min double precision[] NOT NULL,
    hourly_soc_max double precision[] NOT NULL,
    PRIMARY KEY (vehicle_id, day)
) PARTITION BY RANGE (day);
COMMENT ON COLUMN vehicle_days.ingested IS 'milliseconds after recorded_at; what is finer is lost';
COMMENT ON COLUMN vehicle_days.hourly_readings IS 'of each hour of the day, 24 of them';

CREATE TABLE register_days (
    day date NOT NULL,
    readings integer NOT NULL CHECK (readings > 0),
    meter_id text COLLATE "C" NOT NULL,
    recorded instant_series NOT NULL,
    ingested number_series NOT NULL,
    kwh_register number_series NOT NULL,
    voltage number_series NOT NULL,
    kwh_high number_series,
    kwh_before number_series,
    before_at number_series,
    PRIMARY KEY (meter_id, day)
) PARTITION BY RANGE (day);
COMMENT ON COLUMN register_days.before_at IS 'milliseconds after recorded_at (negative)';

-- `replaces`: it is another version of a reading of a row or a folded row, and is shown in its place.
CREATE TABLE meter_late_readings (
    LIKE meter_telemetry_history INCLUDING ALL,
    replaces boolean NOT NULL DEFAULT false
);
CREATE TABLE vehicle_late_readings (LIKE vehicle_telemetry_history INCLUDING ALL);
CREATE TABLE register_late_readings (
    LIKE meter_register_history INCLUDING ALL,
    replaces boolean NOT NULL DEFAULT false
);

-- As before, with the folded history: one partition per month.
CREATE OR REPLACE FUNCTION ensure_history_partitions(oldest timestamptz, newest timestamptz) RETURNS SETOF text
LANGUAGE plpgsql SET timezone = 'UTC' AS $$
DECLARE
    parent text;
    part text;
    month timestamptz;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('energy.history_partitions'));
    FOREACH parent IN ARRAY ARRAY[
        'meter_telemetry_history', 'vehicle_telemetry_history', 'meter_register_history',
        'meter_energy_hourly', 'vehicle_energy_hourly', 'meter_days', 'vehicle_days', 'register_days'
    ] LOOP
        FOR month IN SELECT generate_series(date_trunc('month', oldest), newest, interval '1 month') LOOP
            part := format('%s_y%sm%s', parent, to_char(month, 'YYYY'), to_char(month, 'MM'));
            CONTINUE WHEN to_regclass(part) IS NOT NULL;
            EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', part, parent);
            EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                           parent, part, month, month + interval '1 month');
            RETURN NEXT part;
        END LOOP;
    END LOOP;
END
$$;

-- One row a reading, of all levels. `day` is its day in UTC: a condition on it spares the folded rows of other days. Only the series of
-- columns that a query asks for are decoded (OFFSET 0 keeps them from being decoded for each reading).
-- A late reading that replaces a folded one is looked up once for each day of a device: as an anti join, the planner hashes the
-- readings of the day, each with the arrays of the whole day.
CREATE VIEW meter_readings AS
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

CREATE VIEW vehicle_readings AS
    SELECT vehicle_id, recorded_at, ingested_at, kwh_delivered_dc, soc, battery_temp, (recorded_at AT TIME ZONE 'UTC')::date AS day
    FROM vehicle_telemetry_history
    WHERE recorded_at >= (SELECT folded_before FROM rollup_state)
    UNION ALL
    SELECT folded.vehicle_id, series.recorded_at[number],
        date_trunc('milliseconds', series.recorded_at[number]) + series.ingested_after[number] * interval '1 millisecond',
        series.kwh_delivered_dc[number], series.soc[number], series.battery_temp[number], folded.day
    FROM vehicle_days AS folded
    CROSS JOIN LATERAL (
        SELECT decode_instants(folded.recorded) AS recorded_at, decode_series(folded.ingested) AS ingested_after,
            decode_series(folded.kwh_delivered_dc) AS kwh_delivered_dc, decode_series(folded.soc) AS soc,
            decode_series(folded.battery_temp) AS battery_temp
        OFFSET 0
    ) AS series
    CROSS JOIN LATERAL generate_series(1, folded.readings) AS number
    WHERE folded.day < (SELECT first_day_not_folded())
    UNION ALL
    SELECT vehicle_id, recorded_at, ingested_at, kwh_delivered_dc, soc, battery_temp, (recorded_at AT TIME ZONE 'UTC')::date
    FROM vehicle_late_readings;

CREATE VIEW register_readings AS
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

-- From the millisecond of one instant to that of another, whatever is finer. Folding calls it for every reading: date_bin() is integer
-- arithmetic, while the seconds since 1970 as a double would take a quarter of its time, and round in later centuries.
CREATE FUNCTION whole_milliseconds(earlier timestamptz, later timestamptz) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN round(1000 * date_part('epoch', date_bin('1 millisecond', later, timestamptz '2000-01-01 00:00:00+00')
    - date_bin('1 millisecond', earlier, timestamptz '2000-01-01 00:00:00+00')));

CREATE FUNCTION exact_milliseconds(earlier timestamptz, later timestamptz) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN extract(epoch FROM later - earlier) * 1000;

-- The fold_*_day() put all readings of a device's day into one row: those of its rows if the day is not folded yet, or else those of
-- the folded row and the late ones, which are merged by that. The stored row is decoded and compared before the transaction can
-- commit. They return the number of readings.
-- A folded day that is merged is decoded here and not by the views: milliseconds need not become instants and be computed from these
-- again.
CREATE FUNCTION fold_meter_day(meter text, folded_day date) RETURNS integer LANGUAGE plpgsql SET timezone = 'UTC' AS $$
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

CREATE FUNCTION fold_vehicle_day(vehicle text, folded_day date) RETURNS integer LANGUAGE plpgsql SET timezone = 'UTC' AS $$
DECLARE
    merges boolean := folded_day < first_day_not_folded();
    source record;
    stored record;
BEGIN
    IF merges THEN
        PERFORM pg_advisory_xact_lock(hashtext('energy.merging')); -- writers of late readings share it
    END IF;
    SELECT array_agg(recorded_at) AS recorded, array_agg(ingested_after) AS ingested,
        array_agg(kwh_delivered_dc) AS kwh, array_agg(soc) AS soc, array_agg(battery_temp) AS temperature
    INTO source
    FROM (
        SELECT recorded_at, whole_milliseconds(recorded_at, ingested_at) AS ingested_after, kwh_delivered_dc, soc, battery_temp
        FROM vehicle_telemetry_history
        WHERE NOT merges AND vehicle_id = vehicle AND recorded_at >= folded_day AND recorded_at < folded_day + 1
        UNION ALL
        SELECT recorded_at, ingested_after, folded.kwh_delivered_dc, folded.soc, folded.battery_temp
        FROM vehicle_days
        CROSS JOIN LATERAL unnest(
            decode_instants(recorded), decode_series(ingested), decode_series(kwh_delivered_dc), decode_series(soc),
            decode_series(battery_temp)
        ) AS folded (recorded_at, ingested_after, kwh_delivered_dc, soc, battery_temp)
        WHERE merges AND vehicle_id = vehicle AND day = folded_day
        UNION ALL
        SELECT recorded_at, whole_milliseconds(recorded_at, ingested_at) AS ingested_after, kwh_delivered_dc, soc, battery_temp
        FROM vehicle_late_readings
        WHERE merges AND vehicle_id = vehicle AND recorded_at >= folded_day AND recorded_at < folded_day + 1
        ORDER BY recorded_at
    ) AS reading;
    DELETE FROM vehicle_late_readings
        WHERE merges AND vehicle_id = vehicle AND recorded_at >= folded_day AND recorded_at < folded_day + 1;
    DELETE FROM vehicle_days WHERE vehicle_id = vehicle AND day = folded_day;
    IF source.recorded IS NULL THEN
        RETURN 0;
    END IF;

    INSERT INTO vehicle_days (
        vehicle_id, day, readings, recorded, ingested, kwh_delivered_dc, soc, battery_temp, hourly_readings, hourly_kwh_delivered_dc,
        hourly_battery_temp_sum, hourly_battery_temp_max, hourly_soc_min, hourly_soc_max
    )
    SELECT vehicle, folded_day, cardinality(source.recorded), encode_instants(source.recorded), encode_series(source.ingested),
        encode_series(source.kwh), encode_series(source.soc), encode_series(source.temperature),
        array_agg(coalesce(hourly.readings, 0) ORDER BY hour),
        array_agg(hourly.kwh ORDER BY hour), array_agg(hourly.temperature_sum ORDER BY hour),
        array_agg(hourly.temperature_max ORDER BY hour), array_agg(hourly.soc_min ORDER BY hour),
        array_agg(hourly.soc_max ORDER BY hour)
    FROM generate_series(0, 23) AS hour
    LEFT JOIN (
        SELECT extract(hour FROM reading.recorded_at)::integer AS hour, count(*)::integer AS readings,
            sum(reading.kwh::numeric)::double precision AS kwh, sum(reading.temperature::numeric)::double precision AS temperature_sum,
            max(reading.temperature) AS temperature_max, min(reading.soc) AS soc_min, max(reading.soc) AS soc_max
        FROM unnest(source.recorded, source.kwh, source.soc, source.temperature) AS reading (recorded_at, kwh, soc, temperature)
        GROUP BY 1
    ) AS hourly USING (hour);

    SELECT decode_instants(recorded) AS recorded, decode_series(ingested) AS ingested,
        decode_series(kwh_delivered_dc) AS kwh, decode_series(soc) AS soc, decode_series(battery_temp) AS temperature
    INTO stored
    FROM vehicle_days WHERE vehicle_id = vehicle AND day = folded_day;
    IF stored IS DISTINCT FROM source THEN
        RAISE EXCEPTION 'the folded readings of vehicle % of % are not those that were stored', vehicle, folded_day
            USING ERRCODE = 'data_exception';
    END IF;
    RETURN cardinality(source.recorded);
END
$$;

CREATE FUNCTION fold_register_day(meter text, folded_day date) RETURNS integer LANGUAGE plpgsql SET timezone = 'UTC' AS $$
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

REVOKE EXECUTE ON FUNCTION
    first_day_not_folded, whole_milliseconds, exact_milliseconds, fold_meter_day, fold_vehicle_day, fold_register_day FROM PUBLIC;
GRANT EXECUTE ON FUNCTION first_day_not_folded TO energy_reader, energy_writer;
GRANT SELECT ON meter_readings, vehicle_readings, register_readings TO energy_reader, energy_writer;
GRANT SELECT ON meter_days, vehicle_days, register_days TO energy_reader;
GRANT SELECT ON meter_late_readings, vehicle_late_readings, register_late_readings TO energy_reader;
GRANT SELECT, INSERT ON meter_late_readings, vehicle_late_readings, register_late_readings TO energy_writer;

-- migrate:down
-- Folded days and late readings would be lost, and the previous version cannot read them.
DO $$
BEGIN
    IF EXISTS (SELECT FROM meter_days) OR EXISTS (SELECT FROM vehicle_days) OR EXISTS (SELECT FROM register_days)
        OR EXISTS (SELECT FROM meter_late_readings) OR EXISTS (SELECT FROM vehicle_late_readings)
        OR EXISTS (SELECT FROM register_late_readings)
    THEN
        RAISE EXCEPTION 'days are folded: this migration cannot be reverted without losing their readings';
    END IF;
END
$$;
DROP FUNCTION fold_register_day, fold_vehicle_day, fold_meter_day, exact_milliseconds, whole_milliseconds;
DROP VIEW register_readings, vehicle_readings, meter_readings;
CREATE OR REPLACE FUNCTION ensure_history_partitions(oldest timestamptz, newest timestamptz) RETURNS SETOF text
LANGUAGE plpgsql SET timezone = 'UTC' AS $$
DECLARE
    parent text;
    part text;
    month timestamptz;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('energy.history_partitions'));
    FOREACH parent IN ARRAY ARRAY[
        'meter_telemetry_history', 'vehicle_telemetry_history', 'meter_register_history',
        'meter_energy_hourly', 'vehicle_energy_hourly'
    ] LOOP
        FOR month IN SELECT generate_series(date_trunc('month', oldest), newest, interval '1 month') LOOP
            part := format('%s_y%sm%s', parent, to_char(month, 'YYYY'), to_char(month, 'MM'));
            CONTINUE WHEN to_regclass(part) IS NOT NULL;
            EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', part, parent);
            EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                           parent, part, month, month + interval '1 month');
            RETURN NEXT part;
        END LOOP;
    END LOOP;
END
$$;
DROP TABLE register_late_readings, vehicle_late_readings, meter_late_readings, register_days, vehicle_days, meter_days;
DROP FUNCTION first_day_not_folded;
ALTER TABLE rollup_state DROP COLUMN folded_before, DROP COLUMN folding_before;
