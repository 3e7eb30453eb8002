-- migrate:up
-- A register that falls, or jumps by more than any charger can deliver, is not necessarily reset or replaced: some send a wrong
-- reading, such as 0, now and then. Where it was before is remembered until it has come back, has moved on, or an hour has passed.
ALTER TABLE meter_register_history ADD COLUMN kwh_before double precision;
ALTER TABLE meter_register_history ADD COLUMN before_at timestamptz;
COMMENT ON COLUMN meter_register_history.kwh_before IS 'the highest register before a fall or jump that may be an error; NULL: none';

DROP AGGREGATE walk_registers(timestamptz, double precision, double precision);
DROP FUNCTION next_register;
-- `before` and `before_at`: the register before a fall or jump that may be an error, and when it was read.
ALTER TYPE register_walk ADD ATTRIBUTE before double precision;
ALTER TYPE register_walk ADD ATTRIBUTE before_at timestamptz;

-- The most energy that a charger can deliver in a time: at 1,000 kW, and never less than in a minute.
CREATE FUNCTION deliverable_kwh(elapsed interval) RETURNS double precision LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 1000 * greatest(extract(epoch FROM elapsed), 60)::double precision / 3600;

-- The first reading of a walk begins it, with `before` and `before_at` as its state; they are ignored for the other readings.
CREATE FUNCTION next_register(
    walk register_walk, recorded_at timestamptz, register double precision, jitter double precision,
    before double precision, before_at timestamptz
) RETURNS register_walk LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    kwh double precision;
    plausible boolean;
BEGIN
    IF walk IS NULL THEN -- the first of all: a base, and no interval yet
        RETURN ROW(recorded_at, register, 0, before, before_at)::register_walk;
    END IF;
    before := walk.before;
    before_at := walk.before_at;
    IF before IS NOT NULL AND abs(register - walk.high) > jitter AND register >= before - jitter
        AND recorded_at - before_at <= interval '1 day' AND register - before <= deliverable_kwh(recorded_at - before_at)
    THEN -- back where it was, or as far as a charger can have moved it since: what came between was an error
        RETURN ROW(recorded_at, greatest(register, before), greatest(register - before, 0), NULL, NULL)::register_walk;
    ELSIF register < walk.high AND walk.high - register <= jitter THEN
        register := walk.high;
        kwh := 0;
    ELSE
        -- Below what jitter explains the register was reset, or the meter replaced: it has counted since.
        kwh := CASE WHEN register >= walk.high THEN register - walk.high ELSE register END;
        plausible := kwh <= deliverable_kwh(recorded_at - walk.recorded_at);
        -- More than any charger can deliver: an error, or a replaced meter, and nobody knows where it began.
        kwh := CASE WHEN plausible THEN kwh ELSE 0 END;
        IF before IS NULL AND (register < walk.high OR NOT plausible) THEN
            RETURN ROW(recorded_at, register, kwh, walk.high, walk.recorded_at)::register_walk;
        END IF;
    END IF;
    IF kwh > jitter OR recorded_at - before_at > interval '1 hour' THEN -- it counts from there, so it was no error
        before := NULL;
        before_at := NULL;
    END IF;
    RETURN ROW(recorded_at, register, kwh, before, before_at)::register_walk;
END
$$;

-- For use as a window function over the readings of one meter, in the order of its clock.
CREATE AGGREGATE walk_registers(timestamptz, double precision, double precision, double precision, timestamptz) (
    SFUNC = next_register, STYPE = register_walk
);
REVOKE EXECUTE ON FUNCTION deliverable_kwh, next_register, walk_registers FROM PUBLIC;

-- Derives the intervals that new readings have changed, and stores them: for each meter from its earliest new reading through its
-- latest, and beyond until the walk reaches its previous state, after which nothing can change. Hours that are already rolled up
-- are marked as late, and live status is set to the newest interval. SECURITY DEFINER, because the writer may not change history.
-- The planner settings force lookups by key, whatever the statistics are.
CREATE OR REPLACE FUNCTION derive_intervals(meters text[], earliest timestamptz[], latest timestamptz[], jitter double precision)
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
                        NULL::double precision AS high, seed.kwh_before AS before, seed.before_at, NULL::double precision AS voltage
                    FROM meter_register_history AS seed
                    WHERE seed.meter_id = new.meter_id AND seed.recorded_at < new.earliest
                    ORDER BY seed.recorded_at DESC LIMIT 1
                )
                UNION ALL
                SELECT history.recorded_at, history.kwh_register, history.kwh_high, history.kwh_before, history.before_at, history.voltage
                FROM meter_register_history AS history
                WHERE history.meter_id = new.meter_id
                    AND history.recorded_at >= new.earliest AND history.recorded_at <= new.latest
                UNION ALL
                (
                    SELECT history.recorded_at, history.kwh_register, history.kwh_high, history.kwh_before, history.before_at, history.voltage
                    FROM meter_register_history AS history
                    WHERE history.meter_id = new.meter_id AND history.recorded_at > new.latest
                    ORDER BY history.recorded_at LIMIT beyond
                )
            ) AS found
        ), walked AS (
            SELECT *, walk_registers(
                    recorded_at, register, jitter,
                    CASE WHEN voltage IS NULL THEN before END, CASE WHEN voltage IS NULL THEN before_at END
                ) OVER (
                    PARTITION BY meter_id ORDER BY recorded_at ROWS UNBOUNDED PRECEDING
                ) AS walk
            FROM readings
        ), intervals AS MATERIALIZED (
            SELECT meter_id, recorded_at, after, (walk).kwh, voltage, nullif((walk).high, register) AS high, (walk).before,
                (walk).before_at,
                (high, before, before_at) IS NOT DISTINCT FROM (nullif((walk).high, register), (walk).before, (walk).before_at)
                    AS noted
            FROM walked WHERE voltage IS NOT NULL
        ), states AS (
            UPDATE meter_register_history AS history
            SET kwh_high = intervals.high, kwh_before = intervals.before, before_at = intervals.before_at
            FROM intervals
            WHERE NOT intervals.noted
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
            HAVING count(*) FILTER (WHERE after) = beyond AND NOT bool_or(after AND noted)
        )
        SELECT array_agg(meter_id ORDER BY meter_id), array_agg(reached ORDER BY meter_id), array_agg(reached ORDER BY meter_id)
        INTO meters, earliest, latest FROM unsettled;
        beyond := beyond * 16;
    END LOOP;
END
$$;

-- migrate:down
DROP AGGREGATE walk_registers(timestamptz, double precision, double precision, double precision, timestamptz);
DROP FUNCTION next_register;
DROP FUNCTION deliverable_kwh;
ALTER TYPE register_walk DROP ATTRIBUTE before_at;
ALTER TYPE register_walk DROP ATTRIBUTE before;
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

CREATE AGGREGATE walk_registers(timestamptz, double precision, double precision) (SFUNC = next_register, STYPE = register_walk);
REVOKE EXECUTE ON FUNCTION next_register, walk_registers FROM PUBLIC;

-- Derives the intervals that new readings have changed, and stores them: for each meter from its earliest new reading through its
-- latest, and beyond until the walk reaches its previous state, after which nothing can change. Hours that are already rolled up
-- are marked as late, and live status is set to the newest interval. SECURITY DEFINER, because the writer may not change history.
-- The planner settings force lookups by key, whatever the statistics are.
CREATE OR REPLACE FUNCTION derive_intervals(meters text[], earliest timestamptz[], latest timestamptz[], jitter double precision)
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

ALTER TABLE meter_register_history DROP COLUMN before_at;
ALTER TABLE meter_register_history DROP COLUMN kwh_before;
