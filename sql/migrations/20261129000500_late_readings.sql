-- migrate:up
-- Writers of readings of days that are folded: what holds for their transaction, and what registers need of these days.

-- Reads late_before and folding_before (an array of both) and locks them for the rest of the transaction. Each statement of a
-- volatile function has a snapshot of its own, so they are read after the lock was acquired. Drivers have no number for -infinity.
CREATE FUNCTION hold_watermarks() RETURNS timestamptz[] LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtext('energy.late_before'));
    RETURN (SELECT ARRAY[greatest(late_before, 'epoch'), greatest(folding_before, 'epoch')] FROM rollup_state);
END
$$;

-- For consumers of the previous version, which do not know of folded days: they must not write once the first was folded.
CREATE OR REPLACE FUNCTION hold_late_before() RETURNS timestamptz LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtext('energy.late_before'));
    IF EXISTS (SELECT FROM rollup_state WHERE folding_before > '-infinity') THEN
        RAISE EXCEPTION 'this consumer is older than the schema: it would write readings into days that are folded'
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Deploy the consumer of the present version.';
    END IF;
    RETURN (SELECT greatest(late_before, 'epoch') FROM rollup_state);
END
$$;

-- Late readings are merged into folded rows only while no transaction writes late readings.
CREATE FUNCTION hold_merging() RETURNS void LANGUAGE sql AS $$
    SELECT pg_advisory_xact_lock_shared(hashtext('energy.merging'))
$$;

-- The registers of a meter before the instant `before` that a walk from `earliest` to `latest` needs: whole days, from the one with
-- the reading before it, to the one with the last of as many readings after it as are asked for. For walks whose rows from `before`
-- on do not hold the reading before them.
CREATE FUNCTION registers_before(
    before timestamptz, meter text, earliest timestamptz, latest timestamptz, number_after bigint
) RETURNS SETOF register_readings LANGUAGE plpgsql STABLE SET timezone = 'UTC' AS $$
#variable_conflict use_column
DECLARE
    first_day date;
    last_day date;
BEGIN
    WITH known AS (
        SELECT day, sum(readings) AS readings FROM (
            SELECT day, readings FROM register_days WHERE meter_id = meter AND day < first_day_not_folded()
            UNION ALL
            SELECT recorded_at::date, 1 FROM register_late_readings WHERE meter_id = meter AND NOT replaces
            UNION ALL
            SELECT recorded_at::date, 1 FROM meter_register_history
            WHERE meter_id = meter AND recorded_at < before AND recorded_at >= (SELECT folded_before FROM rollup_state)
        ) AS part
        GROUP BY day
    ), following AS (
        SELECT day, sum(readings) OVER (ORDER BY day) AS readings FROM known WHERE day > latest::date
    )
    SELECT coalesce((SELECT max(day) FROM known WHERE day < earliest::date), earliest::date),
        coalesce((SELECT min(day) FROM following WHERE readings >= number_after), (SELECT max(day) FROM following), latest::date)
    INTO first_day, last_day;
    RETURN QUERY
        SELECT * FROM register_readings
        WHERE meter_id = meter AND day BETWEEN first_day AND last_day AND recorded_at >= first_day AND recorded_at < before;
END
$$;

-- As before, and for days that are folded: what changes there is stored as late readings, which replace the folded ones.
CREATE OR REPLACE FUNCTION derive_intervals(meters text[], earliest timestamptz[], latest timestamptz[], jitter double precision)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
DECLARE
    watermarks timestamptz[] := hold_watermarks();
    late_before timestamptz := watermarks[1];
    folding_before timestamptz := watermarks[2];
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
                WITH row_before AS MATERIALIZED (
                    SELECT recorded_at, ingested_at, kwh_register, kwh_high, kwh_before, before_at, voltage
                    FROM meter_register_history AS history
                    WHERE history.meter_id = new.meter_id
                        AND history.recorded_at >= folding_before AND history.recorded_at < new.earliest
                    ORDER BY history.recorded_at DESC LIMIT 1
                ), known AS (
                    SELECT * FROM row_before
                    UNION ALL
                    SELECT recorded_at, ingested_at, kwh_register, kwh_high, kwh_before, before_at, voltage
                    FROM meter_register_history AS history
                    WHERE history.meter_id = new.meter_id AND history.recorded_at >= folding_before
                        AND history.recorded_at >= new.earliest AND history.recorded_at <= new.latest
                    UNION ALL
                    (
                        SELECT recorded_at, ingested_at, kwh_register, kwh_high, kwh_before, before_at, voltage
                        FROM meter_register_history AS history
                        WHERE history.meter_id = new.meter_id
                            AND history.recorded_at >= folding_before AND history.recorded_at > new.latest
                        ORDER BY history.recorded_at LIMIT beyond
                    )
                    UNION ALL
                    SELECT recorded_at, ingested_at, kwh_register, kwh_high, kwh_before, before_at, voltage
                    FROM registers_before(folding_before, new.meter_id, new.earliest, new.latest, beyond)
                    WHERE folding_before > 'epoch' AND NOT EXISTS (SELECT FROM row_before)
                )
                (
                    -- the one before: the walk begins where it stood there
                    SELECT recorded_at, ingested_at, coalesce(kwh_high, kwh_register) AS register,
                        NULL::double precision AS high, kwh_before AS before, before_at, NULL::double precision AS voltage
                    FROM known WHERE recorded_at < new.earliest ORDER BY recorded_at DESC LIMIT 1
                )
                UNION ALL
                SELECT recorded_at, ingested_at, kwh_register, kwh_high, kwh_before, before_at, voltage
                FROM known WHERE recorded_at >= new.earliest AND recorded_at <= new.latest
                UNION ALL
                (
                    SELECT recorded_at, ingested_at, kwh_register, kwh_high, kwh_before, before_at, voltage
                    FROM known WHERE recorded_at > new.latest ORDER BY recorded_at LIMIT beyond
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
            SELECT meter_id, recorded_at, recorded_at < folding_before AS folded, after, ingested_at, register, (walk).kwh, voltage,
                nullif((walk).high, register) AS high, (walk).before, (walk).before_at,
                (high, before, before_at) IS NOT DISTINCT FROM (nullif((walk).high, register), (walk).before, (walk).before_at)
                    AS noted
            FROM walked WHERE voltage IS NOT NULL
        ), states AS (
            UPDATE meter_register_history AS history
            SET kwh_high = intervals.high, kwh_before = intervals.before, before_at = intervals.before_at
            FROM intervals
            WHERE NOT intervals.noted AND NOT intervals.folded
                AND history.meter_id = intervals.meter_id AND history.recorded_at = intervals.recorded_at
        ), states_of_folded AS (
            INSERT INTO register_late_readings
                (meter_id, recorded_at, ingested_at, kwh_register, voltage, kwh_high, kwh_before, before_at, replaces)
            SELECT meter_id, recorded_at, ingested_at, register, voltage, high, before, before_at, true
            FROM intervals WHERE NOT noted AND folded
            ON CONFLICT (meter_id, recorded_at) DO UPDATE -- a late one that is itself new
            SET kwh_high = excluded.kwh_high, kwh_before = excluded.kwh_before, before_at = excluded.before_at
        ), changed_rows AS (
            INSERT INTO meter_telemetry_history AS history (meter_id, recorded_at, kwh_consumed_ac, voltage, derived)
            SELECT meter_id, recorded_at, kwh, voltage, true FROM intervals WHERE NOT folded
            ON CONFLICT (meter_id, recorded_at) DO UPDATE SET kwh_consumed_ac = excluded.kwh_consumed_ac
            WHERE history.derived AND history.kwh_consumed_ac <> excluded.kwh_consumed_ac
            RETURNING meter_id, recorded_at, kwh_consumed_ac, voltage
        ), folded_days AS (
            SELECT meter_id, (recorded_at AT TIME ZONE 'UTC')::date AS day, array_agg(recorded_at) AS instants
            FROM intervals WHERE folded GROUP BY 1, 2
        ), stored AS MATERIALIZED (
            SELECT reading.*
            FROM folded_days AS wanted CROSS JOIN LATERAL (
                SELECT meter_id, recorded_at, ingested_at, kwh_consumed_ac, derived FROM meter_readings AS reading
                WHERE reading.meter_id = wanted.meter_id AND reading.day = wanted.day AND reading.recorded_at = ANY(wanted.instants)
                OFFSET 0 -- forces a lookup by key: without it, all days of all meters are decoded
            ) AS reading
        ), changed_late AS (
            INSERT INTO meter_late_readings (meter_id, recorded_at, ingested_at, kwh_consumed_ac, voltage, derived, replaces)
            SELECT meter_id, recorded_at, coalesce(stored.ingested_at, now()), kwh, voltage, true, stored.ingested_at IS NOT NULL
            FROM intervals LEFT JOIN stored USING (meter_id, recorded_at)
            WHERE folded AND (stored.ingested_at IS NULL OR (stored.derived AND stored.kwh_consumed_ac <> kwh))
            ON CONFLICT (meter_id, recorded_at) DO UPDATE SET kwh_consumed_ac = excluded.kwh_consumed_ac
            RETURNING meter_id, recorded_at, kwh_consumed_ac, voltage
        ), changed AS (
            SELECT * FROM changed_rows UNION ALL SELECT * FROM changed_late
        ), late AS (
            SELECT meter_id, date_trunc('hour', recorded_at, 'UTC') AS hour
            FROM changed_rows WHERE recorded_at < late_before GROUP BY 1, 2
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

REVOKE EXECUTE ON FUNCTION hold_watermarks, hold_merging, registers_before FROM PUBLIC;
GRANT EXECUTE ON FUNCTION hold_watermarks, hold_merging TO energy_writer;
GRANT SELECT ON meter_days, vehicle_days, register_days TO energy_writer;

-- migrate:down
REVOKE SELECT ON meter_days, vehicle_days, register_days FROM energy_writer;
CREATE OR REPLACE FUNCTION derive_intervals(meters text[], earliest timestamp with time zone[], latest timestamp with time zone[], jitter double precision) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET enable_seqscan TO 'off'
    AS $$
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
CREATE OR REPLACE FUNCTION hold_late_before() RETURNS timestamp with time zone
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtext('energy.late_before'));
    RETURN (SELECT greatest(late_before, 'epoch') FROM rollup_state); -- drivers have no number for -infinity
END
$$;
DROP FUNCTION registers_before, hold_merging, hold_watermarks;
