-- migrate:up
-- Merging and retention look for the oldest late readings.
CREATE INDEX meter_late_readings_by_instant ON meter_late_readings (recorded_at);
CREATE INDEX vehicle_late_readings_by_instant ON vehicle_late_readings (recorded_at);
CREATE INDEX register_late_readings_by_instant ON register_late_readings (recorded_at);

-- Folded rows have partitions of a month. Rows and hourly rollups have partitions of a day, from folding_before to 14 days ahead; days
-- that a table of a month covers, attached or not, get none. Until folding has begun, they have partitions of a month as well.
CREATE OR REPLACE FUNCTION ensure_history_partitions(oldest timestamptz, newest timestamptz) RETURNS SETOF text
LANGUAGE plpgsql SET timezone = 'UTC' AS $$
DECLARE
    rows_from timestamptz := (SELECT folding_before FROM rollup_state);
    daily boolean := rows_from > '-infinity';
    parent text;
    part text;
    unit text;
    opens timestamptz;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('energy.history_partitions'));
    FOR parent, unit, opens IN
        SELECT folded, 'month', month
        FROM unnest(ARRAY['meter_days', 'vehicle_days', 'register_days']) AS folded
        CROSS JOIN generate_series(date_trunc('month', oldest), newest, interval '1 month') AS month
        UNION ALL
        SELECT history, CASE WHEN daily THEN 'day' ELSE 'month' END, each
        FROM unnest(ARRAY[
            'meter_telemetry_history', 'vehicle_telemetry_history', 'meter_register_history',
            'meter_energy_hourly', 'vehicle_energy_hourly'
        ]) AS history
        CROSS JOIN generate_series(
            CASE WHEN daily THEN rows_from ELSE date_trunc('month', oldest) END,
            CASE WHEN daily THEN least(newest, now() + interval '14 days') ELSE newest END,
            CASE WHEN daily THEN interval '1 day' ELSE interval '1 month' END
        ) AS each
    LOOP
        part := parent || to_char(opens, '"_y"YYYY"m"MM');
        CONTINUE WHEN to_regclass(part) IS NOT NULL;
        part := part || CASE unit WHEN 'day' THEN to_char(opens, '"d"DD') ELSE '' END;
        CONTINUE WHEN to_regclass(part) IS NOT NULL;
        -- Before LIKE takes a weaker one: a partition that is being detached would wait for that, and we for the detaching.
        EXECUTE format('LOCK TABLE ONLY %I IN SHARE UPDATE EXCLUSIVE MODE', parent);
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', part, parent);
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                       parent, part, opens, opens + ('1 ' || unit)::interval);
        RETURN NEXT part;
    END LOOP;
END
$$;

-- migrate:down
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
DROP INDEX register_late_readings_by_instant, vehicle_late_readings_by_instant, meter_late_readings_by_instant;
