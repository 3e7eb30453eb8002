-- migrate:up
-- Meters that send a cumulative register instead of the energy since the previous reading. Registers are stored as they were sent;
-- identity, duplicates and conflicts refer to them. The intervals derived from them are stored in meter_telemetry_history, which all
-- queries read.
CREATE TABLE meter_register_history (
    recorded_at timestamptz NOT NULL,
    ingested_at timestamptz NOT NULL DEFAULT now(),
    kwh_register double precision NOT NULL CHECK (kwh_register BETWEEN 0 AND 1e9),
    kwh_high double precision CHECK (kwh_high > kwh_register),
    voltage double precision NOT NULL CHECK (voltage BETWEEN 0 AND 1000),
    meter_id text COLLATE "C" NOT NULL CHECK (octet_length(meter_id) BETWEEN 1 AND 64),
    PRIMARY KEY (meter_id, recorded_at)
) PARTITION BY RANGE (recorded_at);
COMMENT ON COLUMN meter_register_history.kwh_high IS 'the highest register since the last reset; NULL: this one';

ALTER TABLE meter_telemetry_history ADD COLUMN derived boolean;
COMMENT ON COLUMN meter_telemetry_history.derived IS 'true: the interval follows from registers; NULL: it was sent as it is';

-- An interval that ends a gap may be longer than an hour. Partitions have constraints of their own, which dropping that of the
-- parent leaves behind. NOT VALID: existing rows have passed the stricter constraint and need no scan.
ALTER TABLE meter_telemetry_history DROP CONSTRAINT meter_telemetry_history_kwh_consumed_ac_check;
DO $$
DECLARE
    part regclass;
BEGIN
    FOR part IN SELECT relid FROM pg_partition_tree('meter_telemetry_history') WHERE isleaf LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS meter_telemetry_history_kwh_consumed_ac_check', part);
    END LOOP;
END
$$;
ALTER TABLE meter_telemetry_history ADD CONSTRAINT meter_telemetry_history_kwh_consumed_ac_check
    CHECK (kwh_consumed_ac >= 0 AND kwh_consumed_ac <= 1e9) NOT VALID;

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

-- State of a walk through the registers of a meter: the last reading, the highest register since the last reset, and the energy
-- of the interval that ends with this reading.
CREATE TYPE register_walk AS (recorded_at timestamptz, high double precision, kwh double precision);

CREATE FUNCTION next_register(
    walk register_walk, recorded_at timestamptz, register double precision, jitter double precision
) RETURNS register_walk LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    kwh double precision;
BEGIN
    IF walk IS NULL THEN -- the first of all: a base, and no interval yet
        RETURN ROW(recorded_at, register, 0)::register_walk;
    ELSIF register < walk.high AND walk.high - register <= jitter THEN
        RETURN ROW(recorded_at, walk.high, 0)::register_walk;
    END IF;
    -- Below what jitter explains the register was reset, or the meter replaced: it has counted since.
    kwh := CASE WHEN register >= walk.high THEN register - walk.high ELSE register END;
    -- More than any meter can measure since the last reading: a replaced meter, and nobody knows where it began.
    IF kwh > 1000 * ceil(extract(epoch FROM recorded_at - walk.recorded_at) / 3600) THEN
        kwh := 0;
    END IF;
    RETURN ROW(recorded_at, register, kwh)::register_walk;
END
$$;

-- For use as a window function over the readings of one meter, in the order of its clock.
CREATE AGGREGATE walk_registers(timestamptz, double precision, double precision) (SFUNC = next_register, STYPE = register_walk);

-- Derives the intervals that new readings have changed, and stores them: for each meter from its earliest new reading through its
-- latest, and beyond until the walk reaches its previous state, after which nothing can change. Hours that are already rolled up
-- are marked as late, and live status is set to the newest interval. SECURITY DEFINER, because the writer may not change history.
-- The planner settings force lookups by key, whatever the statistics are.
CREATE FUNCTION derive_intervals(meters text[], earliest timestamptz[], latest timestamptz[], jitter double precision)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
DECLARE
    late_before timestamptz := hold_late_before();
    beyond integer := 4; -- readings that are walked after the latest new one, before it is seen whether they changed anything
BEGIN
    -- Readings of one meter that come over two partitions are written one after the other: each sees what the other has written.
    INSERT INTO meter_live_status (meter_id, last_kwh_consumed_ac, last_voltage, recorded_at, updated_at)
        SELECT meter, 0, 0, '-infinity', now() FROM unnest(meters) AS meter
        WHERE NOT EXISTS (SELECT FROM meter_live_status WHERE meter_id = meter)
        ORDER BY meter
        ON CONFLICT DO NOTHING;
    PERFORM FROM meter_live_status WHERE meter_id = ANY(meters) ORDER BY meter_id FOR UPDATE;

    WHILE meters IS NOT NULL LOOP
        WITH new AS (
            SELECT * FROM unnest(meters, earliest, latest) AS given (meter_id, earliest, latest)
        ), readings AS (
            SELECT new.meter_id, found.recorded_at > new.latest AS after, found.*
            FROM new CROSS JOIN LATERAL (
                (
                    -- the one before: the walk begins where it stood there
                    SELECT seed.recorded_at, coalesce(seed.kwh_high, seed.kwh_register) AS register,
                        NULL::double precision AS high, NULL::double precision AS voltage
                    FROM meter_register_history AS seed
                    WHERE seed.meter_id = new.meter_id AND seed.recorded_at < new.earliest
                    ORDER BY seed.recorded_at DESC LIMIT 1
                )
                UNION ALL
                SELECT history.recorded_at, history.kwh_register, history.kwh_high, history.voltage
                FROM meter_register_history AS history
                WHERE history.meter_id = new.meter_id
                    AND history.recorded_at >= new.earliest AND history.recorded_at <= new.latest
                UNION ALL
                (
                    SELECT history.recorded_at, history.kwh_register, history.kwh_high, history.voltage
                    FROM meter_register_history AS history
                    WHERE history.meter_id = new.meter_id AND history.recorded_at > new.latest
                    ORDER BY history.recorded_at LIMIT beyond
                )
            ) AS found
        ), walked AS (
            SELECT *, walk_registers(recorded_at, register, jitter) OVER (
                    PARTITION BY meter_id ORDER BY recorded_at ROWS UNBOUNDED PRECEDING
                ) AS walk
            FROM readings
        ), intervals AS MATERIALIZED (
            SELECT meter_id, recorded_at, after, (walk).kwh, voltage, high AS noted, nullif((walk).high, register) AS high
            FROM walked WHERE voltage IS NOT NULL
        ), highs AS (
            UPDATE meter_register_history AS history SET kwh_high = intervals.high
            FROM intervals
            WHERE intervals.noted IS DISTINCT FROM intervals.high
                AND history.meter_id = intervals.meter_id AND history.recorded_at = intervals.recorded_at
        ), changed AS (
            INSERT INTO meter_telemetry_history AS history (meter_id, recorded_at, kwh_consumed_ac, voltage, derived)
            SELECT meter_id, recorded_at, kwh, voltage, true FROM intervals
            ON CONFLICT (meter_id, recorded_at) DO UPDATE SET kwh_consumed_ac = excluded.kwh_consumed_ac
            WHERE history.derived AND history.kwh_consumed_ac <> excluded.kwh_consumed_ac
            RETURNING meter_id, recorded_at, kwh_consumed_ac, voltage
        ), late AS (
            SELECT meter_id, date_trunc('hour', recorded_at, 'UTC') AS hour
            FROM changed WHERE recorded_at < late_before GROUP BY 1, 2
        ), marked AS (
            INSERT INTO late_hours (side, device_id, hour) -- an hour of many meters is marked for all, as the consumer does
            SELECT DISTINCT 'meter', CASE WHEN count(*) OVER (PARTITION BY hour) > 1000 THEN '' ELSE meter_id END, hour FROM late
        ), live AS (
            INSERT INTO meter_live_status AS live (meter_id, last_kwh_consumed_ac, last_voltage, recorded_at, updated_at)
            SELECT DISTINCT ON (meter_id) meter_id, kwh_consumed_ac, voltage, recorded_at, now()
            FROM changed ORDER BY meter_id, recorded_at DESC
            ON CONFLICT (meter_id) DO UPDATE
            SET recorded_at = excluded.recorded_at,
                last_kwh_consumed_ac = excluded.last_kwh_consumed_ac,
                last_voltage = excluded.last_voltage,
                updated_at = excluded.updated_at
            WHERE excluded.recorded_at >= live.recorded_at
        ), unsettled AS (
            SELECT meter_id, max(recorded_at) AS reached
            FROM intervals
            GROUP BY meter_id
            HAVING count(*) FILTER (WHERE after) = beyond AND NOT bool_or(after AND noted IS NOT DISTINCT FROM high)
        )
        SELECT array_agg(meter_id ORDER BY meter_id), array_agg(reached ORDER BY meter_id), array_agg(reached ORDER BY meter_id)
        INTO meters, earliest, latest FROM unsettled;
        beyond := beyond * 16;
    END LOOP;
END
$$;
REVOKE EXECUTE ON FUNCTION derive_intervals FROM PUBLIC;

GRANT EXECUTE ON FUNCTION derive_intervals TO energy_writer;
GRANT SELECT, INSERT ON meter_register_history TO energy_writer;
GRANT SELECT ON meter_register_history TO energy_reader;

-- migrate:down
DROP FUNCTION derive_intervals;
DROP AGGREGATE walk_registers(timestamptz, double precision, double precision);
DROP FUNCTION next_register;
DROP TYPE register_walk;
CREATE OR REPLACE FUNCTION ensure_history_partitions(oldest timestamptz, newest timestamptz) RETURNS SETOF text
LANGUAGE plpgsql SET timezone = 'UTC' AS $$
DECLARE
    parent text;
    part text;
    month timestamptz;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('energy.history_partitions'));
    FOREACH parent IN ARRAY ARRAY[
        'meter_telemetry_history', 'vehicle_telemetry_history', 'meter_energy_hourly', 'vehicle_energy_hourly'
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
-- Restores the stricter limit on every partition. An interval above 1000 kWh makes the rollback fail without any loss.
ALTER TABLE meter_telemetry_history DROP CONSTRAINT meter_telemetry_history_kwh_consumed_ac_check;
DO $$
DECLARE
    part regclass;
BEGIN
    FOR part IN SELECT relid FROM pg_partition_tree('meter_telemetry_history') WHERE isleaf LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS meter_telemetry_history_kwh_consumed_ac_check', part);
    END LOOP;
END
$$;
ALTER TABLE meter_telemetry_history ADD CONSTRAINT meter_telemetry_history_kwh_consumed_ac_check
    CHECK (kwh_consumed_ac BETWEEN 0 AND 1000);
ALTER TABLE meter_telemetry_history DROP COLUMN derived;
DROP TABLE meter_register_history;
