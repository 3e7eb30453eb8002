-- migrate:up
-- Rows and hourly rollups have partitions of a day, and further ahead of a month. Maintenance replaces an empty table ahead by narrower
-- ones: a month by days, and a day by hours where the fleet is large (sql/maintenance/narrowing.py).

-- Creates the partition of the hour, day or month that begins at `opens`; returns its name.
CREATE FUNCTION create_history_partition(parent text, opens timestamptz, unit text) RETURNS text
LANGUAGE plpgsql SET timezone = 'UTC' AS $$
DECLARE
    part text := parent || to_char(opens, '"_y"YYYY"m"MM') || CASE unit
        WHEN 'hour' THEN to_char(opens, '"d"DD"h"HH24')
        WHEN 'day' THEN to_char(opens, '"d"DD')
        ELSE ''
    END;
BEGIN
    -- Before LIKE takes a weaker one: a partition that is being detached would wait for that, and we for the detaching.
    EXECUTE format('LOCK TABLE ONLY %I IN SHARE UPDATE EXCLUSIVE MODE', parent);
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', part, parent);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                   parent, part, opens, opens + ('1 ' || unit)::interval);
    RETURN part;
END
$$;

-- Folded rows have partitions of a month. Rows and hourly rollups have partitions of a day from folding_before to the end of the month
-- (of the next one in the last three days), and of a month from there on. What a table covers, attached or not, gets none. Until
-- folding has begun, all have partitions of a month.
CREATE OR REPLACE FUNCTION ensure_history_partitions(oldest timestamptz, newest timestamptz) RETURNS SETOF text
LANGUAGE plpgsql SET timezone = 'UTC' AS $$
DECLARE
    rows_from timestamptz := (SELECT folding_before FROM rollup_state);
    daily boolean := rows_from > '-infinity';
    days_until timestamptz := date_trunc('month', now() + interval '3 days') + interval '1 month';
    parent text;
    unit text;
    opens timestamptz;
    months text;
    taken text[];
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('energy.history_partitions'));
    FOR parent, unit, opens IN
        SELECT folded, 'month', month
        FROM unnest(ARRAY['meter_days', 'vehicle_days', 'register_days']) AS folded
        CROSS JOIN generate_series(date_trunc('month', oldest), newest, interval '1 month') AS month
        UNION ALL
        SELECT history, period.unit, period.opens
        FROM unnest(ARRAY[
            'meter_telemetry_history', 'vehicle_telemetry_history', 'meter_register_history',
            'meter_energy_hourly', 'vehicle_energy_hourly'
        ]) AS history
        CROSS JOIN (
            SELECT 'day', day FROM generate_series(rows_from, days_until - interval '1 day', interval '1 day') AS day WHERE daily
            UNION ALL
            SELECT 'month', month
            FROM generate_series(CASE WHEN daily THEN days_until ELSE date_trunc('month', oldest) END, newest, interval '1 month') AS month
        ) AS period (unit, opens)
    LOOP
        months := parent || to_char(opens, '"_y"YYYY"m"MM');
        taken := CASE unit
            WHEN 'day' THEN ARRAY[to_char(opens, '"d"DD'), to_char(opens, '"d"DD"h00"')]
            ELSE ARRAY['d01', 'd01h00', to_char(opens + interval '1 month -1 day', '"d"DD')]
        END;
        CONTINUE WHEN EXISTS (SELECT FROM unnest(array_prepend('', taken)) AS ending WHERE to_regclass(months || ending) IS NOT NULL);
        RETURN NEXT create_history_partition(parent, opens, unit);
    END LOOP;
END
$$;

-- Replaces a detached table by partitions of a smaller unit. Returns false, and does nothing, when it has rows.
CREATE FUNCTION narrow_history_partition(parent text, part text, opens timestamptz, closes timestamptz, unit text) RETURNS boolean
LANGUAGE plpgsql SET timezone = 'UTC' AS $$
DECLARE
    has_rows boolean;
    width interval := '1 ' || unit;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('energy.history_partitions'));
    EXECUTE format('SELECT EXISTS (SELECT FROM %I)', part) INTO has_rows;
    IF has_rows THEN
        RETURN false;
    END IF;
    EXECUTE format('DROP TABLE %I', part);
    PERFORM create_history_partition(parent, each, unit) FROM generate_series(opens, closes - width, width) AS each;
    RETURN true;
END
$$;

REVOKE EXECUTE ON FUNCTION create_history_partition, narrow_history_partition FROM PUBLIC;

-- migrate:down
DROP FUNCTION narrow_history_partition;
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
DROP FUNCTION create_history_partition;
