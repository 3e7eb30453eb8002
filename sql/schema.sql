-- Written by `make schema` from the migrations; a test compares. Partitions are left out.

CREATE EXTENSION IF NOT EXISTS btree_gist WITH SCHEMA public;

COMMENT ON EXTENSION btree_gist IS 'support for indexing common datatypes in GiST';

CREATE EXTENSION IF NOT EXISTS pg_trgm WITH SCHEMA public;

COMMENT ON EXTENSION pg_trgm IS 'text similarity measurement and index searching based on trigrams';

CREATE TYPE public.number_series AS (
	decimals smallint,
	differences boolean,
	small smallint[],
	medium integer[],
	large bigint[],
	exact double precision[]
);

COMMENT ON COLUMN public.number_series.decimals IS 'an integer is the number times ten to this power';

COMMENT ON COLUMN public.number_series.differences IS 'true: each integer but the first is the difference from the one before';

CREATE TYPE public.instant_series AS (
	first_at timestamp with time zone,
	minutes public.number_series,
	deviations public.number_series
);

CREATE TYPE public.register_walk AS (
	recorded_at timestamp with time zone,
	high double precision,
	kwh double precision,
	before double precision,
	before_at timestamp with time zone
);

CREATE FUNCTION public.add_to_vehicle_search() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    INSERT INTO vehicle_search SELECT vehicle_id FROM added ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;

CREATE FUNCTION public.are_integers_over(numbers double precision[], factor double precision) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT coalesce(
        bool_and(
            CASE
                WHEN number = 0 THEN float8send(number) = '\x0000000000000000'
                WHEN abs(number) < 9e15 / factor THEN round(number * factor) / factor = number
                ELSE number IS NULL
            END
        ),
        true
    ) FROM unnest(numbers) AS number
$$;

CREATE FUNCTION public.are_kept(instants timestamp with time zone[], replaced timestamp with time zone[]) RETURNS boolean[]
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET enable_nestloop TO 'off'
    AS $$
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

CREATE FUNCTION public.around_whole_hours(begins timestamp with time zone, ends timestamp with time zone, complete_before timestamp with time zone) RETURNS TABLE(opens timestamp with time zone, closes timestamp with time zone)
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
    SELECT part.*
    FROM (
        SELECT begins AS opens, least(ends, first_whole_hour(begins)) AS closes
        UNION ALL
        SELECT greatest(first_whole_hour(begins), last_whole_hour(ends, complete_before)), ends
    ) AS part
    WHERE part.opens < part.closes
$$;

CREATE FUNCTION public.carried_energy_of(asked_ids text[], window_hour timestamp with time zone, window_opens timestamp with time zone, window_closes timestamp with time zone, carried_since timestamp with time zone) RETURNS TABLE(vehicle_id text, carried_to double precision, assigned_seconds double precision, ac_kwh double precision, ac_points bigint, dc_kwh double precision, dc_points bigint, dc_kwh_assigned double precision, dc_points_assigned bigint, ac_kwh_compared double precision, ac_points_compared bigint, dc_kwh_compared double precision, dc_points_compared bigint, average_battery_temp double precision)
    LANGUAGE sql STABLE ROWS 5000
    AS $$
WITH state AS MATERIALIZED (
    SELECT late_before, folding_before FROM rollup_state
), marked AS MATERIALIZED (
    SELECT DISTINCT side, device_id FROM late_hours WHERE hour >= window_hour
), batch AS MATERIALIZED (
    SELECT vehicle_id, count(*) AS periods, min(meter_id) AS meter_id,
        bool_and(valid_during @> tstzrange(window_opens, window_closes, '[)')) AS whole
    FROM vehicle_meter_assignments
    WHERE vehicle_id >= asked_ids[1] AND vehicle_id <= asked_ids[cardinality(asked_ids)]
        AND lower(valid_during) < window_closes AND coalesce(upper(valid_during) > window_opens, true)
    GROUP BY vehicle_id
), assigned AS MATERIALIZED (
    SELECT asked.vehicle_id, batch.meter_id, live.recorded_at AS vehicle_newest, meter_live.recorded_at AS meter_newest,
        date_trunc('minute', least(live.recorded_at, meter_live.recorded_at)) + interval '1 minute' AS tail_opens
    FROM unnest(asked_ids) AS asked (vehicle_id)
    LEFT JOIN batch ON batch.vehicle_id = asked.vehicle_id
    LEFT JOIN vehicle_live_status AS live
        ON live.vehicle_id = asked.vehicle_id
        AND live.vehicle_id >= asked_ids[1] AND live.vehicle_id <= asked_ids[cardinality(asked_ids)]
    LEFT JOIN meter_live_status AS meter_live ON meter_live.meter_id = batch.meter_id
    WHERE batch.periods IS NULL OR (batch.whole AND live.recorded_at IS NOT NULL AND meter_live.recorded_at IS NOT NULL)
), carried AS MATERIALIZED (
    SELECT assigned.*, vehicle.closes AS vehicle_closes, meter.closes AS meter_closes,
        vehicle.kwh_delivered_dc AS dc_kwh, vehicle.readings AS dc_points, vehicle.battery_temp_sum,
        meter.kwh_consumed_ac AS ac_kwh, meter.readings AS ac_points
    FROM assigned
    JOIN state ON state.folding_before <= window_hour
    JOIN vehicle_carried_sums AS vehicle
        ON vehicle.hour = window_hour AND vehicle.vehicle_id = assigned.vehicle_id
        AND vehicle.vehicle_id >= asked_ids[1] AND vehicle.vehicle_id <= asked_ids[cardinality(asked_ids)]
        AND vehicle.closes >= carried_since AND vehicle.closes <= least(window_closes, state.late_before)
    LEFT JOIN meter_carried_sums AS meter
        ON meter.hour = window_hour AND meter.meter_id = assigned.meter_id
        AND meter.closes >= carried_since AND meter.closes <= least(window_closes, state.late_before)
    WHERE (assigned.meter_id IS NULL OR (
            meter.meter_id IS NOT NULL AND (
                assigned.tail_opens >= greatest(vehicle.closes, meter.closes)
                OR assigned.tail_opens > greatest(assigned.vehicle_newest, assigned.meter_newest)
            )
        ))
        AND NOT EXISTS (SELECT FROM marked WHERE side = 'vehicle' AND device_id IN (assigned.vehicle_id, ''))
        AND NOT EXISTS (SELECT FROM marked WHERE side = 'meter' AND device_id IN (assigned.meter_id, ''))
), settled AS MATERIALIZED (
    SELECT carried.vehicle_id, carried.meter_id, carried.vehicle_closes, carried.meter_closes, carried.tail_opens,
        carried.tail_opens < window_closes AND carried.tail_opens <= carried.vehicle_newest AS vehicle_ahead,
        carried.tail_opens < window_closes AND carried.tail_opens <= carried.meter_newest AS meter_ahead,
        carried.dc_kwh + coalesce(vehicle_leaving.kwh_delivered_dc[of_vehicle.leaving], 0) AS dc_kwh,
        carried.dc_points + of_vehicle.leaving AS dc_points,
        carried.battery_temp_sum + coalesce(vehicle_leaving.battery_temp_sum[of_vehicle.leaving], 0) AS battery_temp_sum,
        carried.ac_kwh + coalesce(meter_leaving.kwh_consumed_ac[of_meter.leaving], 0) AS ac_kwh,
        carried.ac_points + of_meter.leaving AS ac_points
    FROM carried
    JOIN vehicle_leaving_hours AS vehicle_leaving
        ON vehicle_leaving.hour = window_hour AND vehicle_leaving.vehicle_id = carried.vehicle_id
        AND vehicle_leaving.vehicle_id >= asked_ids[1]
        AND vehicle_leaving.vehicle_id <= asked_ids[cardinality(asked_ids)]
    LEFT JOIN meter_leaving_hours AS meter_leaving ON meter_leaving.hour = window_hour AND meter_leaving.meter_id = carried.meter_id
    CROSS JOIN (SELECT (59 - date_part('minute', window_opens AT TIME ZONE 'UTC'))::smallint AS of_window) AS minutes_left
    CROSS JOIN LATERAL (
        SELECT coalesce(width_bucket(minutes_left.of_window, vehicle_leaving.minutes_left), 0) AS leaving
    ) AS of_vehicle
    CROSS JOIN LATERAL (
        SELECT coalesce(width_bucket(minutes_left.of_window, meter_leaving.minutes_left), 0) AS leaving
    ) AS of_meter
)
SELECT
    settled.vehicle_id, date_part('epoch', least(settled.vehicle_closes, settled.meter_closes)) AS carried_to,
    CASE WHEN meter_id IS NOT NULL THEN extract(epoch FROM window_closes - window_opens)::double precision END AS assigned_seconds,
    coalesce(settled.ac_kwh + coalesce(recent_ac.kwh, 0), 0) AS ac_kwh,
    coalesce(settled.ac_points + recent_ac.readings, 0) AS ac_points,
    settled.dc_kwh + coalesce(recent_dc.kwh, 0) AS dc_kwh,
    settled.dc_points + recent_dc.readings AS dc_points,
    CASE WHEN meter_id IS NULL THEN 0 ELSE settled.dc_kwh + coalesce(recent_dc.kwh, 0) END AS dc_kwh_assigned,
    CASE WHEN meter_id IS NULL THEN 0 ELSE settled.dc_points + recent_dc.readings END AS dc_points_assigned,
    coalesce(settled.ac_kwh + coalesce(CASE WHEN meter_ahead THEN common_ac.kwh ELSE recent_ac.kwh END, 0), 0) AS ac_kwh_compared,
    coalesce(settled.ac_points + CASE WHEN meter_ahead THEN common_ac.readings ELSE recent_ac.readings END, 0)
        AS ac_points_compared,
    CASE WHEN meter_id IS NULL THEN 0
        ELSE settled.dc_kwh + coalesce(CASE WHEN vehicle_ahead THEN common_dc.kwh ELSE recent_dc.kwh END, 0) END AS dc_kwh_compared,
    CASE WHEN meter_id IS NULL THEN 0
        ELSE settled.dc_points + CASE WHEN vehicle_ahead THEN common_dc.readings ELSE recent_dc.readings END END
        AS dc_points_compared,
    (settled.battery_temp_sum + coalesce(recent_dc.battery_temp_sum, 0)) / nullif(settled.dc_points + recent_dc.readings, 0)
        AS average_battery_temp
FROM settled
CROSS JOIN LATERAL (
    SELECT sum(kwh_delivered_dc) AS kwh, sum(battery_temp) AS battery_temp_sum, count(*) AS readings
    FROM vehicle_telemetry_history
    WHERE vehicle_id = settled.vehicle_id AND recorded_at >= settled.vehicle_closes
        AND recorded_at >= carried_since AND recorded_at < window_closes -- constants, which leave few partitions
) AS recent_dc
CROSS JOIN LATERAL (
    SELECT sum(kwh_consumed_ac) AS kwh, count(*) AS readings
    FROM meter_telemetry_history
    WHERE meter_id = settled.meter_id AND recorded_at >= settled.meter_closes
        AND recorded_at >= carried_since AND recorded_at < window_closes
) AS recent_ac
CROSS JOIN LATERAL (
    SELECT sum(kwh_delivered_dc) AS kwh, count(*) AS readings
    FROM vehicle_telemetry_history
    WHERE settled.vehicle_ahead
        AND vehicle_id = settled.vehicle_id AND recorded_at >= settled.vehicle_closes AND recorded_at < settled.tail_opens
        AND recorded_at >= carried_since AND recorded_at < window_closes
) AS common_dc
CROSS JOIN LATERAL (
    SELECT sum(kwh_consumed_ac) AS kwh, count(*) AS readings
    FROM meter_telemetry_history
    WHERE settled.meter_ahead
        AND meter_id = settled.meter_id AND recorded_at >= settled.meter_closes AND recorded_at < settled.tail_opens
        AND recorded_at >= carried_since AND recorded_at < window_closes
) AS common_ac;
$$;

CREATE FUNCTION public.contents_of(part regclass, energy name, columns text[]) RETURNS TABLE(readings bigint, derived bigint, energy_mwh numeric, first timestamp with time zone, last timestamp with time zone, fingerprint numeric)
    LANGUAGE plpgsql STABLE
    AS $$
BEGIN
    RETURN QUERY EXECUTE format(
        'SELECT count(*), %s, coalesce(sum(round(%I * 1e6)::bigint), 0), min(recorded_at), max(recorded_at),
            coalesce(sum(hash_record_extended(ROW(%s), 0)), 0)
        FROM %s',
        CASE WHEN 'derived' = ANY(columns) THEN 'count(*) FILTER (WHERE derived)' ELSE '0::bigint' END,
        energy, (SELECT string_agg(quote_ident(name), ', ' ORDER BY position) FROM unnest(columns) WITH ORDINALITY AS c (name, position)),
        part
    );
END
$$;

CREATE FUNCTION public.count_vehicles(status text, search text, most integer) RETURNS bigint
    LANGUAGE plpgsql STABLE
    AS $_$
DECLARE
    found bigint;
BEGIN
    EXECUTE format('SELECT count(*) FROM (SELECT FROM vehicle_efficiency WHERE %s LIMIT $3) AS counted', vehicles_matching(status, search))
        INTO found USING status, search_pattern(search), most;
    RETURN found;
END
$_$;

CREATE FUNCTION public.create_history_partition(parent text, opens timestamp with time zone, unit text) RETURNS text
    LANGUAGE plpgsql
    SET "TimeZone" TO 'UTC'
    AS $$
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

CREATE FUNCTION public.declare_assignments(vehicles text[], meters text[], starts timestamp with time zone[], ends timestamp with time zone[], origin text) RETURNS TABLE("position" bigint, outcome text, detail text)
    LANGUAGE plpgsql
    SET "TimeZone" TO 'UTC'
    AS $$
#variable_conflict use_column
DECLARE
    said record;
    before assignment_declarations;
    taken tstzrange;
    closes timestamptz;
    corrected text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('energy.assignments'));
    FOR said IN
        SELECT * FROM unnest(vehicles, meters, starts, ends)
            WITH ORDINALITY AS declared (vehicle, meter, valid_from, valid_to, item) ORDER BY item
    LOOP
        position := said.item;
        detail := '';
        SELECT * INTO before FROM assignment_declarations
            WHERE vehicle_id = said.vehicle AND valid_from = said.valid_from
            ORDER BY declaration_id DESC LIMIT 1;
        IF FOUND AND before.meter_id = said.meter AND before.valid_to IS NOT DISTINCT FROM said.valid_to THEN
            outcome := 'duplicate';
            RETURN NEXT;
            CONTINUE;
        END IF;

        -- Older open ones give way, newer ones end an open one: for that only its first instant must be free.
        taken := CASE WHEN said.valid_to IS NULL THEN tstzrange(said.valid_from, said.valid_from, '[]')
            ELSE tstzrange(said.valid_from, said.valid_to, '[)') END;
        SELECT format('%s is at %s during %s', vehicle_id, meter_id, valid_during) INTO detail
            FROM vehicle_meter_assignments
            WHERE (vehicle_id = said.vehicle OR meter_id = said.meter) AND valid_during && taken
                AND NOT (vehicle_id = said.vehicle AND lower(valid_during) = said.valid_from)
                AND NOT (lower(valid_during) < said.valid_from AND (superseded OR upper_inf(valid_during)))
            ORDER BY valid_during LIMIT 1;
        IF FOUND THEN
            outcome := 'overlap';
            RETURN NEXT;
            CONTINUE;
        END IF;

        DELETE FROM vehicle_meter_assignments
            WHERE vehicle_id = said.vehicle AND lower(valid_during) = said.valid_from
            RETURNING meter_id INTO corrected;
        UPDATE vehicle_meter_assignments
            SET valid_during = tstzrange(lower(valid_during), said.valid_from, '[)'), superseded = true
            WHERE (vehicle_id = said.vehicle OR meter_id = said.meter) AND valid_during @> said.valid_from;
        closes := coalesce(said.valid_to, next_assignment(said.vehicle, said.meter, said.valid_from));
        INSERT INTO vehicle_meter_assignments (vehicle_id, meter_id, valid_during, source, superseded)
            VALUES (said.vehicle, said.meter, tstzrange(said.valid_from, closes, '[)'), origin,
                    said.valid_to IS NULL AND closes IS NOT NULL);
        -- What had given way to the meter that was wrong goes on.
        UPDATE vehicle_meter_assignments AS earlier
            SET valid_during = tstzrange(lower(earlier.valid_during), following.begins, '[)'),
                superseded = following.begins IS NOT NULL
            FROM (
                SELECT vehicle_id, meter_id, valid_during,
                    next_assignment(vehicle_id, meter_id, lower(valid_during)) AS begins
                FROM vehicle_meter_assignments
                WHERE meter_id = corrected AND superseded AND upper(valid_during) = said.valid_from
            ) AS following
            WHERE earlier.vehicle_id = following.vehicle_id AND earlier.valid_during = following.valid_during
                AND following.begins IS DISTINCT FROM said.valid_from;
        INSERT INTO assignment_declarations (vehicle_id, meter_id, valid_from, valid_to, source)
            VALUES (said.vehicle, said.meter, said.valid_from, said.valid_to, origin);
        detail := '';
        outcome := 'written';
        RETURN NEXT;
    END LOOP;
END
$$;

CREATE FUNCTION public.decode_instants(series public.instant_series, first integer, last integer) RETURNS timestamp with time zone[]
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    AS $$
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

CREATE FUNCTION public.decode_instants(series public.instant_series) RETURNS timestamp with time zone[]
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN public.decode_instants(series, 1, 2147483647);

CREATE FUNCTION public.decode_series(series public.number_series, first integer, last integer) RETURNS double precision[]
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    AS $$
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

CREATE FUNCTION public.decode_series(series public.number_series) RETURNS double precision[]
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN public.decode_series(series, 1, 2147483647);

CREATE FUNCTION public.deliverable_kwh(elapsed interval) RETURNS double precision
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (((1000)::double precision * (GREATEST(EXTRACT(epoch FROM elapsed), (60)::numeric))::double precision) / (3600)::double precision);

CREATE FUNCTION public.derive_intervals(meters text[], earliest timestamp with time zone[], latest timestamp with time zone[], jitter double precision) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET enable_seqscan TO 'off'
    AS $$
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

CREATE FUNCTION public.encode_instants(instants timestamp with time zone[]) RETURNS public.instant_series
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    AS $$
DECLARE
    grid double precision[];
    deviations double precision[];
    is_steady boolean;
BEGIN
    SELECT array_agg(minute), array_agg((microsecond - minute * 60000000) / 1000), bool_and(minute = number - 1)
    INTO grid, deviations, is_steady
    FROM (
        SELECT microsecond, round(microsecond / 60000000) AS minute, number FROM (
            SELECT round(date_part('epoch', instant - instants[1]) * 1000000) AS microsecond, number
            FROM unnest(instants) WITH ORDINALITY AS reading (instant, number)
            OFFSET 0 -- computes it once
        ) AS since_first
    ) AS reading;
    RETURN ROW(
        instants[1],
        CASE WHEN NOT is_steady THEN encode_series(ARRAY(
            SELECT minute - before FROM unnest(grid[2:], grid) AS pair (minute, before) WHERE minute IS NOT NULL
        )) END,
        encode_series(deviations)
    )::instant_series;
END
$$;

CREATE FUNCTION public.encode_series(numbers double precision[]) RETURNS public.number_series
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
DECLARE
    factor double precision := 1;
    sample double precision[] := ARRAY( -- decides quickly in most cases
        SELECT numbers[position] FROM generate_series(1, cardinality(numbers), cardinality(numbers) / 32 + 1) AS position
    );
    integers bigint[];
    low bigint;
    high bigint;
    spread double precision;
    spread_of_differences double precision;
    differences boolean := false;
BEGIN
    IF numbers IS NULL OR NOT EXISTS (SELECT FROM unnest(numbers) AS number WHERE number IS NOT NULL) THEN
        RETURN NULL;
    END IF;
    FOR decimals IN 0..9 LOOP
        IF are_integers_over(sample, factor) AND are_integers_over(numbers, factor) THEN
            integers := ARRAY(SELECT round(number * factor)::bigint FROM unnest(numbers) AS number);
            IF array_position(integers, NULL) IS NULL THEN
                SELECT stddev_pop(integer::double precision), stddev_pop((integer - before)::double precision)
                    INTO spread, spread_of_differences
                    FROM unnest(integers, array_prepend(NULL, integers)) AS pair (integer, before);
                differences := coalesce(spread_of_differences * 4 < spread, false);
            END IF;
            IF differences THEN
                integers := ARRAY(
                    SELECT integer - before FROM unnest(integers, array_prepend(0::bigint, integers)) AS pair (integer, before)
                    WHERE integer IS NOT NULL -- the second array is longer by one
                );
            END IF;
            SELECT min(integer), max(integer) INTO low, high FROM unnest(integers) AS integer;
            RETURN CASE
                WHEN low >= -32768 AND high <= 32767
                    THEN ROW(decimals, differences, integers::smallint[], NULL, NULL, NULL)::number_series
                WHEN low >= -2147483648 AND high <= 2147483647
                    THEN ROW(decimals, differences, NULL, integers::integer[], NULL, NULL)::number_series
                ELSE ROW(decimals, differences, NULL, NULL, integers, NULL)::number_series
            END;
        END IF;
        factor := factor * 10;
    END LOOP;
    RETURN ROW(NULL, NULL, NULL, NULL, NULL, numbers)::number_series;
END
$$;

CREATE FUNCTION public.ensure_history_partitions(oldest timestamp with time zone, newest timestamp with time zone) RETURNS SETOF text
    LANGUAGE plpgsql
    SET "TimeZone" TO 'UTC'
    AS $$
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

CREATE FUNCTION public.exact_milliseconds(earlier timestamp with time zone, later timestamp with time zone) RETURNS double precision
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (EXTRACT(epoch FROM (later - earlier)) * (1000)::numeric);

CREATE FUNCTION public.first_day_not_folded() RETURNS date
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
    SELECT (folded_before AT TIME ZONE 'UTC')::date FROM rollup_state
$$;

CREATE FUNCTION public.first_whole_hour(opens timestamp with time zone) RETURNS timestamp with time zone
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN date_trunc('hour'::text, ((opens + '01:00:00'::interval) - '00:00:00.000001'::interval), 'UTC'::text);

CREATE FUNCTION public.fold_meter_day(meter text, folded_day date) RETURNS integer
    LANGUAGE plpgsql
    SET "TimeZone" TO 'UTC'
    AS $$
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

CREATE FUNCTION public.fold_register_day(meter text, folded_day date) RETURNS integer
    LANGUAGE plpgsql
    SET "TimeZone" TO 'UTC'
    AS $$
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

CREATE FUNCTION public.fold_vehicle_day(vehicle text, folded_day date) RETURNS integer
    LANGUAGE plpgsql
    SET "TimeZone" TO 'UTC'
    AS $$
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

CREATE FUNCTION public.hold_late_before() RETURNS timestamp with time zone
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtext('energy.late_before'));
    IF EXISTS (SELECT FROM rollup_state WHERE folding_before > '-infinity') THEN
        RAISE EXCEPTION 'this consumer is older than the schema: it would write readings into days that are folded'
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Deploy the consumer of the present version.';
    END IF;
    RETURN (SELECT greatest(late_before, 'epoch') FROM rollup_state);
END
$$;

CREATE FUNCTION public.hold_merging() RETURNS void
    LANGUAGE sql
    AS $$
    SELECT pg_advisory_xact_lock_shared(hashtext('energy.merging'))
$$;

CREATE FUNCTION public.hold_watermarks() RETURNS timestamp with time zone[]
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtext('energy.late_before'));
    RETURN (SELECT ARRAY[greatest(late_before, 'epoch'), greatest(folding_before, 'epoch')] FROM rollup_state);
END
$$;

CREATE FUNCTION public.keep_halted_offset() RETURNS trigger
    LANGUAGE plpgsql
    AS $$ BEGIN RETURN NULL; END $$;

CREATE FUNCTION public.last_whole_hour(closes timestamp with time zone, complete_before timestamp with time zone) RETURNS timestamp with time zone
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN date_trunc('hour'::text, LEAST(closes, complete_before), 'UTC'::text);

CREATE FUNCTION public.meter_energy(meter text, opens timestamp with time zone, closes timestamp with time zone, complete_before timestamp with time zone) RETURNS TABLE(kwh double precision, readings bigint)
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
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

CREATE FUNCTION public.meter_readings_during(meter text, opens timestamp with time zone, closes timestamp with time zone) RETURNS TABLE(recorded_at timestamp with time zone, kwh_consumed_ac double precision)
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
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

CREATE FUNCTION public.narrow_history_partition(parent text, part text, opens timestamp with time zone, closes timestamp with time zone, unit text) RETURNS boolean
    LANGUAGE plpgsql
    SET "TimeZone" TO 'UTC'
    AS $$
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

CREATE FUNCTION public.next_assignment(vehicle text, meter text, begun timestamp with time zone) RETURNS timestamp with time zone
    LANGUAGE sql STABLE
    AS $$
    SELECT min(lower(valid_during)) FROM vehicle_meter_assignments
    WHERE (vehicle_id = vehicle OR meter_id = meter) AND lower(valid_during) > begun
$$;

CREATE FUNCTION public.next_fault_id() RETURNS bigint
    LANGUAGE sql
    AS $$
    SELECT greatest(
        (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
        (SELECT coalesce(max(fault_id), 0) + 1 FROM efficiency_faults)
    )
$$;

CREATE FUNCTION public.next_register(walk public.register_walk, recorded_at timestamp with time zone, register double precision, jitter double precision, before double precision, before_at timestamp with time zone) RETURNS public.register_walk
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
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

CREATE FUNCTION public.positions_during(opens timestamp with time zone, closes timestamp with time zone, day date, hourly_readings integer[]) RETURNS TABLE(first integer, last integer)
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
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

CREATE FUNCTION public.ranked_vehicles(sort text, descending boolean, status text, search text, few boolean, after_rank double precision, after_id text, row_limit integer) RETURNS TABLE(vehicle_id text, rank double precision)
    LANGUAGE plpgsql STABLE ROWS 100
    AS $_$
DECLARE
    statuses text[] := CASE
        WHEN status IS NULL THEN '{healthy,degraded,faulty,insufficient_data,unassigned,implausible}' ELSE ARRAY[status]
    END;
    value text := CASE WHEN descending THEN '-' ELSE '' END || CASE sort
        WHEN 'efficiency' THEN 'ratio'
        WHEN 'energyAc' THEN 'CASE WHEN assigned_seconds > 0 THEN ac_kwh END'
        WHEN 'energyDc' THEN 'dc_kwh'
        WHEN 'temperature' THEN 'average_battery_temp'
        ELSE 'NULL::double precision'
    END;
    step text := CASE sort
        WHEN 'efficiency' THEN 'efficiency_step'
        WHEN 'energyAc' THEN 'energy_ac_step'
        WHEN 'energyDc' THEN 'energy_dc_step'
        WHEN 'temperature' THEN 'temperature_step'
    END;
    steps_a_unit double precision := CASE WHEN sort IN ('efficiency', 'temperature') THEN 10 ELSE 1 END;
    after_step double precision := ceil(CASE WHEN descending THEN -after_rank ELSE after_rank END * steps_a_unit);
    -- Many vehicles have no energy: their step is zero, and no other value has it.
    lowest double precision := CASE sort WHEN 'temperature' THEN double precision '-infinity' ELSE 0 END;
    falling text := CASE WHEN descending THEN ' DESC' ELSE '' END;
    beyond text := CASE WHEN descending THEN '<' ELSE '>' END;
    up_to text := CASE WHEN descending THEN '>=' ELSE '<=' END;
    by_id text := 'vehicle_id' || CASE WHEN sort = 'vehicleId' THEN falling ELSE '' END;
    after_same text := CASE WHEN sort = 'vehicleId' AND descending THEN 'vehicle_id < $4' ELSE 'vehicle_id > $4' END;
    -- `begun`: the rest of the step of the given position.
    parts text[] := CASE WHEN descending THEN '{begun,valued,lowest,none}' ELSE '{lowest,begun,valued,none}' END;
    first_part text := CASE
        WHEN after_id IS NULL THEN NULL WHEN after_rank IS NULL THEN 'none' WHEN after_rank = lowest THEN 'lowest' ELSE 'begun'
    END;
    part text;
    condition text;
    last_step double precision;
    remaining integer := row_limit;
    found integer;
BEGIN
    IF few OR sort = 'vehicleId' THEN
        RETURN QUERY EXECUTE format(
            'SELECT * FROM (SELECT vehicle_id, %1$s AS rank FROM vehicle_efficiency WHERE %2$s) AS matching
            WHERE $4 IS NULL OR rank > $3 OR (rank IS NULL AND $3 IS NOT NULL) OR (rank IS NOT DISTINCT FROM $3 AND %3$s)
            ORDER BY %4$s %5$s LIMIT $5',
            value, vehicles_matching(status, search), after_same,
            CASE WHEN sort <> 'vehicleId' THEN 'rank NULLS LAST,' ELSE '' END, by_id
        ) USING status, search_pattern(search), after_rank, after_id, row_limit;
        RETURN;
    END IF;
    FOREACH part IN ARRAY parts LOOP
        CONTINUE WHEN array_position(parts, part) < array_position(parts, first_part)
            OR (part = 'begun' AND first_part IS DISTINCT FROM part);
        condition := CASE part
            WHEN 'begun' THEN format('%s = %L AND (%s, vehicle_id) > ($3, $4)', step, after_step, value)
            WHEN 'valued' THEN format('%s > %L', step, lowest)
            WHEN 'lowest' THEN format('%s = %L', step, lowest)
            ELSE format('%s IS NULL', step)
        END || CASE
            WHEN part = 'valued' AND first_part = 'begun' THEN format(' AND %s %s %L', step, beyond, after_step)
            WHEN part IN ('lowest', 'none') AND part = first_part THEN ' AND ' || after_same
            ELSE ''
        END || CASE WHEN search = '' THEN '' ELSE ' AND lower(vehicle_id) LIKE $2' END;
        IF part = 'valued' THEN
            -- Up to this step, the index has as many vehicles as remain: none of the page is beyond it.
            EXECUTE format(
                'SELECT step FROM unnest($6) AS wanted (status) CROSS JOIN LATERAL (
                    SELECT %1$s AS step FROM vehicle_efficiency AS one
                    WHERE one.status = wanted.status AND %2$s
                    ORDER BY %1$s%3$s LIMIT $5
                ) AS nearest
                ORDER BY step%3$s OFFSET $5 - 1 LIMIT 1',
                step, condition, falling
            ) INTO last_step USING status, search_pattern(search), after_rank, after_id, remaining, statuses;
            condition := condition
                || CASE WHEN last_step IS NULL THEN '' ELSE format(' AND %s %s %L', step, up_to, last_step) END;
        END IF;
        RETURN QUERY EXECUTE format(
            'SELECT page.* FROM unnest($6) AS wanted (status) CROSS JOIN LATERAL (
                SELECT vehicle_id, %s AS rank FROM vehicle_efficiency AS one
                WHERE one.status = wanted.status AND %s ORDER BY %s, vehicle_id LIMIT $5
            ) AS page
            ORDER BY page.rank, page.vehicle_id LIMIT $5',
            value, condition, step || CASE WHEN part IN ('begun', 'valued') THEN falling || ', rank' ELSE '' END
        ) USING status, search_pattern(search), after_rank, after_id, remaining, statuses;
        GET DIAGNOSTICS found = ROW_COUNT;
        remaining := remaining - found;
        EXIT WHEN remaining <= 0;
    END LOOP;
END
$_$;

CREATE TABLE public.meter_register_history (
    recorded_at timestamp with time zone NOT NULL,
    ingested_at timestamp with time zone DEFAULT now() NOT NULL,
    kwh_register double precision NOT NULL,
    kwh_high double precision,
    voltage double precision NOT NULL,
    meter_id text NOT NULL COLLATE pg_catalog."C",
    kwh_before double precision,
    before_at timestamp with time zone,
    CONSTRAINT meter_register_history_check CHECK ((kwh_high > kwh_register)),
    CONSTRAINT meter_register_history_kwh_register_check CHECK (((kwh_register >= (0)::double precision) AND (kwh_register <= ('1000000000'::numeric)::double precision))),
    CONSTRAINT meter_register_history_meter_id_check CHECK (((octet_length(meter_id) >= 1) AND (octet_length(meter_id) <= 64))),
    CONSTRAINT meter_register_history_voltage_check CHECK (((voltage >= (0)::double precision) AND (voltage <= (1000)::double precision)))
)
PARTITION BY RANGE (recorded_at);

COMMENT ON COLUMN public.meter_register_history.kwh_high IS 'the highest register since the last reset; NULL: this one';

COMMENT ON COLUMN public.meter_register_history.kwh_before IS 'the highest register before a fall or jump that may be an error; NULL: none';

CREATE TABLE public.register_days (
    day date NOT NULL,
    readings integer NOT NULL,
    meter_id text NOT NULL COLLATE pg_catalog."C",
    recorded public.instant_series NOT NULL,
    ingested public.number_series NOT NULL,
    kwh_register public.number_series NOT NULL,
    voltage public.number_series NOT NULL,
    kwh_high public.number_series,
    kwh_before public.number_series,
    before_at public.number_series,
    CONSTRAINT register_days_readings_check CHECK ((readings > 0))
)
PARTITION BY RANGE (day);

COMMENT ON COLUMN public.register_days.before_at IS 'milliseconds after recorded_at (negative)';

CREATE TABLE public.register_late_readings (
    recorded_at timestamp with time zone CONSTRAINT meter_register_history_recorded_at_not_null NOT NULL,
    ingested_at timestamp with time zone DEFAULT now() CONSTRAINT meter_register_history_ingested_at_not_null NOT NULL,
    kwh_register double precision CONSTRAINT meter_register_history_kwh_register_not_null NOT NULL,
    kwh_high double precision,
    voltage double precision CONSTRAINT meter_register_history_voltage_not_null NOT NULL,
    meter_id text CONSTRAINT meter_register_history_meter_id_not_null NOT NULL COLLATE pg_catalog."C",
    kwh_before double precision,
    before_at timestamp with time zone,
    replaces boolean DEFAULT false NOT NULL,
    CONSTRAINT meter_register_history_check CHECK ((kwh_high > kwh_register)),
    CONSTRAINT meter_register_history_kwh_register_check CHECK (((kwh_register >= (0)::double precision) AND (kwh_register <= ('1000000000'::numeric)::double precision))),
    CONSTRAINT meter_register_history_meter_id_check CHECK (((octet_length(meter_id) >= 1) AND (octet_length(meter_id) <= 64))),
    CONSTRAINT meter_register_history_voltage_check CHECK (((voltage >= (0)::double precision) AND (voltage <= (1000)::double precision)))
);

COMMENT ON COLUMN public.register_late_readings.kwh_high IS 'the highest register since the last reset; NULL: this one';

COMMENT ON COLUMN public.register_late_readings.kwh_before IS 'the highest register before a fall or jump that may be an error; NULL: none';

CREATE TABLE public.rollup_state (
    only_row boolean DEFAULT true NOT NULL,
    late_before timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    complete_before timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    refreshed_at timestamp with time zone DEFAULT now() NOT NULL,
    folding_before timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    folded_before timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    CONSTRAINT folding_begins_first CHECK ((folded_before <= folding_before)),
    CONSTRAINT rollup_state_check CHECK ((complete_before <= late_before)),
    CONSTRAINT rollup_state_only_row_check CHECK (only_row)
);

CREATE VIEW public.register_readings AS
 SELECT history.meter_id,
    history.recorded_at,
    history.ingested_at,
    history.kwh_register,
    history.voltage,
    history.kwh_high,
    history.kwh_before,
    history.before_at,
    ((history.recorded_at AT TIME ZONE 'UTC'::text))::date AS day
   FROM public.meter_register_history history
  WHERE ((history.recorded_at >= ( SELECT rollup_state.folded_before
           FROM public.rollup_state)) AND (NOT (EXISTS ( SELECT
           FROM public.register_late_readings late
          WHERE (late.replaces AND (late.meter_id = history.meter_id) AND (late.recorded_at = history.recorded_at))))))
UNION ALL
 SELECT folded.meter_id,
    series.recorded_at[number.number] AS recorded_at,
    (date_trunc('milliseconds'::text, series.recorded_at[number.number]) + (series.ingested_after[number.number] * '00:00:00.001'::interval)) AS ingested_at,
    series.kwh_register[number.number] AS kwh_register,
    series.voltage[number.number] AS voltage,
    series.kwh_high[number.number] AS kwh_high,
    series.kwh_before[number.number] AS kwh_before,
    (series.recorded_at[number.number] + (series.before_after[number.number] * '00:00:00.001'::interval)) AS before_at,
    folded.day
   FROM (((public.register_days folded
     CROSS JOIN LATERAL ( SELECT public.decode_instants(folded.recorded) AS recorded_at,
            public.decode_series(folded.ingested) AS ingested_after,
            public.decode_series(folded.kwh_register) AS kwh_register,
            public.decode_series(folded.voltage) AS voltage,
            public.decode_series(folded.kwh_high) AS kwh_high,
            public.decode_series(folded.kwh_before) AS kwh_before,
            public.decode_series(folded.before_at) AS before_after,
            ARRAY( SELECT late.recorded_at
                   FROM public.register_late_readings late
                  WHERE (late.replaces AND (late.meter_id = folded.meter_id) AND (late.recorded_at >= ((folded.day)::timestamp without time zone AT TIME ZONE 'UTC'::text)) AND (late.recorded_at < (((folded.day + 1))::timestamp without time zone AT TIME ZONE 'UTC'::text)))) AS replaced
         OFFSET 0) series)
     CROSS JOIN LATERAL ( SELECT public.are_kept(series.recorded_at, series.replaced) AS kept
         OFFSET 0) shown)
     CROSS JOIN LATERAL generate_series(1, folded.readings) number(number))
  WHERE ((folded.day < ( SELECT public.first_day_not_folded() AS first_day_not_folded)) AND (shown.kept[number.number] IS NOT FALSE))
UNION ALL
 SELECT register_late_readings.meter_id,
    register_late_readings.recorded_at,
    register_late_readings.ingested_at,
    register_late_readings.kwh_register,
    register_late_readings.voltage,
    register_late_readings.kwh_high,
    register_late_readings.kwh_before,
    register_late_readings.before_at,
    ((register_late_readings.recorded_at AT TIME ZONE 'UTC'::text))::date AS day
   FROM public.register_late_readings;

CREATE FUNCTION public.registers_before(before timestamp with time zone, meter text, earliest timestamp with time zone, latest timestamp with time zone, number_after bigint) RETURNS SETOF public.register_readings
    LANGUAGE plpgsql STABLE
    SET "TimeZone" TO 'UTC'
    AS $$
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

CREATE FUNCTION public.remove_from_vehicle_search() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    DELETE FROM vehicle_search USING removed WHERE vehicle_search.vehicle_id = removed.vehicle_id;
    RETURN NULL;
END
$$;

CREATE FUNCTION public.search_pattern(search text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (('%'::text || regexp_replace(lower(search), '([\\%_])'::text, '\\\1'::text, 'g'::text)) || '%'::text);

CREATE TABLE public.evaluation_totals (
    status text NOT NULL,
    bucket integer NOT NULL,
    vehicles bigint NOT NULL,
    window_end timestamp with time zone NOT NULL,
    ac_kwh double precision NOT NULL,
    dc_kwh double precision NOT NULL,
    ac_kwh_compared double precision,
    dc_kwh_compared double precision
);

COMMENT ON COLUMN public.evaluation_totals.bucket IS '1 is the lowest; 0: the vehicles have no ratio';

COMMENT ON COLUMN public.evaluation_totals.window_end IS 'of the vehicle that was evaluated first';

CREATE TABLE public.vehicle_efficiency (
    vehicle_id text NOT NULL COLLATE pg_catalog."C",
    window_end timestamp with time zone NOT NULL,
    assigned_seconds double precision,
    ac_kwh double precision NOT NULL,
    dc_kwh double precision NOT NULL,
    dc_kwh_assigned double precision NOT NULL,
    ac_points bigint NOT NULL,
    dc_points bigint NOT NULL,
    dc_points_assigned bigint NOT NULL,
    average_battery_temp double precision,
    ratio double precision,
    ac_coverage double precision,
    dc_coverage double precision NOT NULL,
    status text NOT NULL,
    reason text NOT NULL,
    faulty_in_a_row integer DEFAULT 0 NOT NULL,
    sound_in_a_row integer DEFAULT 0 NOT NULL,
    ac_kwh_compared double precision,
    dc_kwh_compared double precision,
    efficiency_step double precision GENERATED ALWAYS AS (ceil((ratio * (10)::double precision))) STORED,
    energy_ac_step double precision GENERATED ALWAYS AS (ceil(
CASE
    WHEN (assigned_seconds > (0)::double precision) THEN ac_kwh
    ELSE NULL::double precision
END)) STORED,
    energy_dc_step double precision GENERATED ALWAYS AS (ceil(dc_kwh)) STORED,
    temperature_step double precision GENERATED ALWAYS AS (ceil((average_battery_temp * (10)::double precision))) STORED,
    CONSTRAINT vehicle_efficiency_status_check CHECK ((status = ANY (ARRAY['healthy'::text, 'degraded'::text, 'faulty'::text, 'insufficient_data'::text, 'unassigned'::text, 'implausible'::text])))
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0.05');

COMMENT ON COLUMN public.vehicle_efficiency.ratio IS 'DC/AC of the assigned time, per cent';

CREATE FUNCTION public.sum_evaluations(bounds double precision[]) RETURNS SETOF public.evaluation_totals
    LANGUAGE sql STABLE PARALLEL SAFE
    BEGIN ATOMIC
 SELECT vehicle_efficiency.status,
     COALESCE(width_bucket(vehicle_efficiency.ratio, sum_evaluations.bounds), 0) AS bucket,
     count(*) AS count,
     min(vehicle_efficiency.window_end) AS min,
     sum(vehicle_efficiency.ac_kwh) AS sum,
     sum(vehicle_efficiency.dc_kwh) AS sum,
     sum(COALESCE(vehicle_efficiency.ac_kwh_compared, vehicle_efficiency.ac_kwh)) AS sum,
     sum(COALESCE(vehicle_efficiency.dc_kwh_compared, vehicle_efficiency.dc_kwh_assigned)) AS sum
    FROM public.vehicle_efficiency
   GROUP BY vehicle_efficiency.status, COALESCE(width_bucket(vehicle_efficiency.ratio, sum_evaluations.bounds), 0);
END;

CREATE FUNCTION public.utc_day(instant timestamp with time zone) RETURNS date
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ((instant AT TIME ZONE 'UTC'::text))::date;

CREATE FUNCTION public.vehicle_energy(vehicle text, opens timestamp with time zone, closes timestamp with time zone, complete_before timestamp with time zone) RETURNS TABLE(kwh double precision, readings bigint, battery_temp_sum double precision, battery_temp_max double precision, soc_min double precision, soc_max double precision)
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
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

CREATE FUNCTION public.vehicle_readings_during(vehicle text, opens timestamp with time zone, closes timestamp with time zone) RETURNS TABLE(recorded_at timestamp with time zone, kwh_delivered_dc double precision, soc double precision, battery_temp double precision)
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
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

CREATE FUNCTION public.vehicles_matching(status text, search text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (CASE WHEN (status IS NULL) THEN 'true'::text ELSE 'status = $1'::text END || CASE WHEN (search = ''::text) THEN ''::text ELSE ' AND vehicle_id IN (SELECT vehicle_id FROM vehicle_search WHERE lower(vehicle_id) LIKE $2)'::text END);

CREATE FUNCTION public.whole_hours(begins timestamp with time zone, ends timestamp with time zone, complete_before timestamp with time zone) RETURNS TABLE(opens timestamp with time zone, closes timestamp with time zone, first_day date, last_day date)
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
    SELECT whole.*, utc_day(whole.opens), utc_day(whole.closes - interval '1 microsecond')
    FROM (SELECT first_whole_hour(begins) AS opens, last_whole_hour(ends, complete_before) AS closes) AS whole
    WHERE whole.opens < whole.closes
$$;

CREATE FUNCTION public.whole_milliseconds(earlier timestamp with time zone, later timestamp with time zone) RETURNS double precision
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN round(((1000)::double precision * date_part('epoch'::text, (date_bin('00:00:00.001'::interval, later, '0001-01-01 00:00:00+00'::timestamp with time zone) - date_bin('00:00:00.001'::interval, earlier, '0001-01-01 00:00:00+00'::timestamp with time zone)))));

CREATE AGGREGATE public.walk_registers(timestamp with time zone, double precision, double precision, double precision, timestamp with time zone) (
    SFUNC = public.next_register,
    STYPE = public.register_walk
);

CREATE TABLE public.alert_outbox (
    event_id bigint NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    published_at timestamp with time zone,
    key text NOT NULL,
    value text NOT NULL
);

ALTER TABLE public.alert_outbox ALTER COLUMN event_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.alert_outbox_event_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.assignment_declarations (
    declaration_id bigint NOT NULL,
    valid_from timestamp with time zone NOT NULL,
    valid_to timestamp with time zone,
    declared_at timestamp with time zone DEFAULT now() NOT NULL,
    vehicle_id text NOT NULL COLLATE pg_catalog."C",
    meter_id text NOT NULL COLLATE pg_catalog."C",
    source text NOT NULL,
    CONSTRAINT assignment_declarations_check CHECK ((valid_to > valid_from))
);

ALTER TABLE public.assignment_declarations ALTER COLUMN declaration_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.assignment_declarations_declaration_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.assignment_positions (
    consumer_group text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    vehicle_id text NOT NULL COLLATE pg_catalog."C",
    valid_from timestamp with time zone NOT NULL,
    incarnation integer NOT NULL,
    "offset" bigint NOT NULL
);

CREATE TABLE public.late_hours (
    marked_at timestamp with time zone DEFAULT now() NOT NULL,
    hour timestamp with time zone NOT NULL,
    side text NOT NULL,
    device_id text NOT NULL COLLATE pg_catalog."C",
    refreshed_to text DEFAULT ''::text NOT NULL COLLATE pg_catalog."C",
    CONSTRAINT late_hours_side_check CHECK ((side = ANY (ARRAY['meter'::text, 'vehicle'::text])))
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='1000', autovacuum_analyze_scale_factor='0', autovacuum_analyze_threshold='500');

CREATE TABLE public.meter_late_readings (
    recorded_at timestamp with time zone CONSTRAINT meter_telemetry_history_recorded_at_not_null NOT NULL,
    ingested_at timestamp with time zone DEFAULT now() CONSTRAINT meter_telemetry_history_ingested_at_not_null NOT NULL,
    kwh_consumed_ac double precision CONSTRAINT meter_telemetry_history_kwh_consumed_ac_not_null NOT NULL,
    voltage double precision CONSTRAINT meter_telemetry_history_voltage_not_null NOT NULL,
    meter_id text CONSTRAINT meter_telemetry_history_meter_id_not_null NOT NULL COLLATE pg_catalog."C",
    derived boolean,
    replaces boolean DEFAULT false NOT NULL,
    CONSTRAINT meter_telemetry_history_kwh_consumed_ac_check CHECK (((kwh_consumed_ac >= (0)::double precision) AND (kwh_consumed_ac <= ('1000000000'::numeric)::double precision))),
    CONSTRAINT meter_telemetry_history_meter_id_check CHECK (((octet_length(meter_id) >= 1) AND (octet_length(meter_id) <= 64))),
    CONSTRAINT meter_telemetry_history_voltage_check CHECK (((voltage >= (0)::double precision) AND (voltage <= (1000)::double precision)))
);

COMMENT ON COLUMN public.meter_late_readings.recorded_at IS 'the device''s clock; ingested_at is the server''s';

COMMENT ON COLUMN public.meter_late_readings.derived IS 'true: the interval follows from registers; NULL: it was sent as it is';

CREATE TABLE public.vehicle_late_readings (
    recorded_at timestamp with time zone CONSTRAINT vehicle_telemetry_history_recorded_at_not_null NOT NULL,
    ingested_at timestamp with time zone DEFAULT now() CONSTRAINT vehicle_telemetry_history_ingested_at_not_null NOT NULL,
    kwh_delivered_dc double precision CONSTRAINT vehicle_telemetry_history_kwh_delivered_dc_not_null NOT NULL,
    soc double precision CONSTRAINT vehicle_telemetry_history_soc_not_null NOT NULL,
    battery_temp double precision CONSTRAINT vehicle_telemetry_history_battery_temp_not_null NOT NULL,
    vehicle_id text CONSTRAINT vehicle_telemetry_history_vehicle_id_not_null NOT NULL COLLATE pg_catalog."C",
    CONSTRAINT vehicle_telemetry_history_battery_temp_check CHECK (((battery_temp >= ('-60'::integer)::double precision) AND (battery_temp <= (150)::double precision))),
    CONSTRAINT vehicle_telemetry_history_kwh_delivered_dc_check CHECK (((kwh_delivered_dc >= (0)::double precision) AND (kwh_delivered_dc <= (1000)::double precision))),
    CONSTRAINT vehicle_telemetry_history_soc_check CHECK (((soc >= (0)::double precision) AND (soc <= (100)::double precision))),
    CONSTRAINT vehicle_telemetry_history_vehicle_id_check CHECK (((octet_length(vehicle_id) >= 1) AND (octet_length(vehicle_id) <= 64)))
);

COMMENT ON COLUMN public.vehicle_late_readings.recorded_at IS 'the device''s clock; ingested_at is the server''s';

CREATE VIEW public.changed_hours AS
 SELECT late_hours.side,
    late_hours.device_id,
    late_hours.hour,
    late_hours.hour AS changed_at
   FROM public.late_hours
UNION ALL
 SELECT 'meter'::text AS side,
    meter_late_readings.meter_id AS device_id,
    date_trunc('hour'::text, meter_late_readings.recorded_at, 'UTC'::text) AS hour,
    meter_late_readings.recorded_at AS changed_at
   FROM public.meter_late_readings
UNION ALL
 SELECT 'vehicle'::text AS side,
    vehicle_late_readings.vehicle_id AS device_id,
    date_trunc('hour'::text, vehicle_late_readings.recorded_at, 'UTC'::text) AS hour,
    vehicle_late_readings.recorded_at AS changed_at
   FROM public.vehicle_late_readings;

CREATE TABLE public.dead_letters (
    consumer_group text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    key bytea,
    value bytea,
    kafka_timestamp timestamp with time zone,
    reason text NOT NULL,
    detail text NOT NULL,
    rejected_at timestamp with time zone DEFAULT now() NOT NULL,
    resolved_at timestamp with time zone,
    resolution text,
    incarnation integer DEFAULT 0 NOT NULL,
    CONSTRAINT dead_letters_resolution_check CHECK ((resolution = ANY (ARRAY['replayed'::text, 'discarded'::text]))),
    CONSTRAINT resolved_somehow CHECK (((resolved_at IS NULL) = (resolution IS NULL)))
);

COMMENT ON COLUMN public.dead_letters.incarnation IS 'the incarnation of the log that held the record';

CREATE TABLE public.device_totals (
    only_row boolean DEFAULT true NOT NULL,
    counted_at timestamp with time zone,
    vehicles bigint DEFAULT 0 NOT NULL,
    vehicles_reporting bigint DEFAULT 0 NOT NULL,
    meters bigint DEFAULT 0 NOT NULL,
    meters_reporting bigint DEFAULT 0 NOT NULL,
    newest_reading timestamp with time zone,
    CONSTRAINT device_totals_only_row_check CHECK (only_row)
);

CREATE TABLE public.efficiency_faults (
    fault_id bigint DEFAULT public.next_fault_id() NOT NULL,
    vehicle_id text NOT NULL COLLATE pg_catalog."C",
    meter_ids text[] NOT NULL,
    opened_at timestamp with time zone NOT NULL,
    opened_ratio double precision NOT NULL,
    opened_ac_kwh double precision NOT NULL,
    opened_dc_kwh double precision NOT NULL,
    lowest_ratio double precision NOT NULL,
    closed_at timestamp with time zone,
    closed_ratio double precision,
    closed_ac_kwh double precision,
    closed_dc_kwh double precision,
    CONSTRAINT efficiency_faults_check CHECK ((closed_at >= opened_at)),
    CONSTRAINT efficiency_faults_check1 CHECK (((closed_at IS NULL) = (closed_ratio IS NULL)))
);

CREATE TABLE public.evaluation_round (
    only_row boolean DEFAULT true NOT NULL,
    token uuid DEFAULT gen_random_uuid() NOT NULL,
    CONSTRAINT evaluation_round_only_row_check CHECK (only_row)
);

CREATE TABLE public.kafka_offsets (
    consumer_group text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    start_offset bigint NOT NULL,
    next_offset bigint NOT NULL,
    records_consumed bigint DEFAULT 0 NOT NULL,
    records_written bigint DEFAULT 0 NOT NULL,
    records_duplicate bigint DEFAULT 0 NOT NULL,
    records_dead_lettered bigint DEFAULT 0 NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    end_offset bigint,
    halt_reason text,
    halted_at timestamp with time zone,
    incarnation integer DEFAULT 0 NOT NULL,
    last_record_offset bigint,
    last_record_hash bytea,
    last_record_next_offset bigint,
    CONSTRAINT kafka_offsets_add_up CHECK ((records_consumed = ((records_written + records_duplicate) + records_dead_lettered))),
    CONSTRAINT kafka_offsets_check CHECK ((next_offset >= start_offset)),
    CONSTRAINT kafka_offsets_partition_check CHECK ((partition >= 0)),
    CONSTRAINT kafka_offsets_records_dead_lettered_check CHECK ((records_dead_lettered >= 0)),
    CONSTRAINT kafka_offsets_records_duplicate_check CHECK ((records_duplicate >= 0)),
    CONSTRAINT kafka_offsets_records_written_check CHECK ((records_written >= 0))
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0.05');

COMMENT ON COLUMN public.kafka_offsets.start_offset IS 'the first offset this group ever read of the partition';

COMMENT ON COLUMN public.kafka_offsets.next_offset IS 'the first offset not yet written; consumers resume here, whatever Kafka has stored';

COMMENT ON COLUMN public.kafka_offsets.halt_reason IS 'why the partition is not read; only an operator ends a halt (offsets accept-gap, offsets reset)';

COMMENT ON COLUMN public.kafka_offsets.incarnation IS 'grows by one when an operator accepts that the log is another one than before';

COMMENT ON COLUMN public.kafka_offsets.last_record_offset IS 'of the last record taken; where reading began when there is no hash';

COMMENT ON COLUMN public.kafka_offsets.last_record_hash IS 'of the last record taken: its timestamp, key and value';

COMMENT ON COLUMN public.kafka_offsets.last_record_next_offset IS 'next_offset as it was stored with the last record: no record lies between them; a previous version of the consumer moves next_offset alone';

CREATE TABLE public.maintenance_runs (
    task text NOT NULL,
    succeeded_at timestamp with time zone,
    failed_at timestamp with time zone,
    error text
);

CREATE UNLOGGED TABLE public.meter_carried_sums (
    hour timestamp with time zone NOT NULL,
    closes timestamp with time zone NOT NULL,
    kwh_consumed_ac double precision NOT NULL,
    readings bigint NOT NULL,
    rolled_up_to timestamp with time zone NOT NULL,
    rolled_up_kwh double precision NOT NULL,
    rolled_up_readings bigint NOT NULL,
    meter_id text NOT NULL COLLATE pg_catalog."C"
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0.05');

CREATE TABLE public.meter_days (
    day date NOT NULL,
    readings integer NOT NULL,
    meter_id text NOT NULL COLLATE pg_catalog."C",
    recorded public.instant_series NOT NULL,
    ingested public.number_series NOT NULL,
    kwh_consumed_ac public.number_series NOT NULL,
    voltage public.number_series NOT NULL,
    derived boolean[],
    hourly_readings integer[] NOT NULL,
    hourly_kwh_consumed_ac double precision[] NOT NULL,
    CONSTRAINT meter_days_readings_check CHECK ((readings > 0))
)
PARTITION BY RANGE (day);

COMMENT ON COLUMN public.meter_days.ingested IS 'milliseconds after recorded_at; what is finer is lost';

COMMENT ON COLUMN public.meter_days.derived IS 'NULL: of no reading';

COMMENT ON COLUMN public.meter_days.hourly_readings IS 'of each hour of the day, 24 of them';

COMMENT ON COLUMN public.meter_days.hourly_kwh_consumed_ac IS 'of each hour of the day; NULL: no reading';

CREATE TABLE public.meter_energy_hourly (
    hour timestamp with time zone NOT NULL,
    kwh_consumed_ac double precision NOT NULL,
    readings integer NOT NULL,
    meter_id text NOT NULL COLLATE pg_catalog."C",
    CONSTRAINT meter_energy_hourly_readings_check CHECK ((readings > 0))
)
PARTITION BY RANGE (hour);

CREATE VIEW public.meter_hours AS
 SELECT meter_energy_hourly.meter_id,
    meter_energy_hourly.hour,
    meter_energy_hourly.kwh_consumed_ac,
    meter_energy_hourly.readings,
    public.utc_day(meter_energy_hourly.hour) AS day
   FROM public.meter_energy_hourly
  WHERE (meter_energy_hourly.hour >= ( SELECT rollup_state.folded_before
           FROM public.rollup_state))
UNION ALL
 SELECT folded.meter_id,
    sums.hour,
    sums.kwh_consumed_ac,
    sums.readings,
    folded.day
   FROM (public.meter_days folded
     CROSS JOIN LATERAL ROWS FROM(generate_series(((folded.day)::timestamp without time zone AT TIME ZONE 'UTC'::text), (((folded.day)::timestamp without time zone AT TIME ZONE 'UTC'::text) + '23:00:00'::interval), '01:00:00'::interval), unnest(folded.hourly_kwh_consumed_ac), unnest(folded.hourly_readings)) sums(hour, kwh_consumed_ac, readings))
  WHERE ((folded.day < ( SELECT public.first_day_not_folded() AS first_day_not_folded)) AND (sums.readings > 0));

CREATE UNLOGGED TABLE public.meter_leaving_hours (
    hour timestamp with time zone NOT NULL,
    meter_id text NOT NULL COLLATE pg_catalog."C",
    minutes_left smallint[],
    kwh_consumed_ac double precision[]
);

CREATE TABLE public.meter_live_status (
    meter_id text NOT NULL COLLATE pg_catalog."C",
    last_kwh_consumed_ac double precision NOT NULL,
    last_voltage double precision NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0.05');

CREATE TABLE public.meter_telemetry_history (
    recorded_at timestamp with time zone NOT NULL,
    ingested_at timestamp with time zone DEFAULT now() NOT NULL,
    kwh_consumed_ac double precision NOT NULL,
    voltage double precision NOT NULL,
    meter_id text NOT NULL COLLATE pg_catalog."C",
    derived boolean,
    CONSTRAINT meter_telemetry_history_meter_id_check CHECK (((octet_length(meter_id) >= 1) AND (octet_length(meter_id) <= 64))),
    CONSTRAINT meter_telemetry_history_voltage_check CHECK (((voltage >= (0)::double precision) AND (voltage <= (1000)::double precision)))
)
PARTITION BY RANGE (recorded_at);

COMMENT ON COLUMN public.meter_telemetry_history.recorded_at IS 'the device''s clock; ingested_at is the server''s';

COMMENT ON COLUMN public.meter_telemetry_history.derived IS 'true: the interval follows from registers; NULL: it was sent as it is';

CREATE VIEW public.meter_readings AS
 SELECT history.meter_id,
    history.recorded_at,
    history.ingested_at,
    history.kwh_consumed_ac,
    history.voltage,
    history.derived,
    ((history.recorded_at AT TIME ZONE 'UTC'::text))::date AS day
   FROM public.meter_telemetry_history history
  WHERE ((history.recorded_at >= ( SELECT rollup_state.folded_before
           FROM public.rollup_state)) AND (NOT (EXISTS ( SELECT
           FROM public.meter_late_readings late
          WHERE (late.replaces AND (late.meter_id = history.meter_id) AND (late.recorded_at = history.recorded_at))))))
UNION ALL
 SELECT folded.meter_id,
    series.recorded_at[number.number] AS recorded_at,
    (date_trunc('milliseconds'::text, series.recorded_at[number.number]) + (series.ingested_after[number.number] * '00:00:00.001'::interval)) AS ingested_at,
    series.kwh_consumed_ac[number.number] AS kwh_consumed_ac,
    series.voltage[number.number] AS voltage,
    folded.derived[number.number] AS derived,
    folded.day
   FROM (((public.meter_days folded
     CROSS JOIN LATERAL ( SELECT public.decode_instants(folded.recorded) AS recorded_at,
            public.decode_series(folded.ingested) AS ingested_after,
            public.decode_series(folded.kwh_consumed_ac) AS kwh_consumed_ac,
            public.decode_series(folded.voltage) AS voltage,
            ARRAY( SELECT late.recorded_at
                   FROM public.meter_late_readings late
                  WHERE (late.replaces AND (late.meter_id = folded.meter_id) AND (late.recorded_at >= ((folded.day)::timestamp without time zone AT TIME ZONE 'UTC'::text)) AND (late.recorded_at < (((folded.day + 1))::timestamp without time zone AT TIME ZONE 'UTC'::text)))) AS replaced
         OFFSET 0) series)
     CROSS JOIN LATERAL ( SELECT public.are_kept(series.recorded_at, series.replaced) AS kept
         OFFSET 0) shown)
     CROSS JOIN LATERAL generate_series(1, folded.readings) number(number))
  WHERE ((folded.day < ( SELECT public.first_day_not_folded() AS first_day_not_folded)) AND (shown.kept[number.number] IS NOT FALSE))
UNION ALL
 SELECT meter_late_readings.meter_id,
    meter_late_readings.recorded_at,
    meter_late_readings.ingested_at,
    meter_late_readings.kwh_consumed_ac,
    meter_late_readings.voltage,
    meter_late_readings.derived,
    ((meter_late_readings.recorded_at AT TIME ZONE 'UTC'::text))::date AS day
   FROM public.meter_late_readings;

CREATE TABLE public.moved_readings (
    moved_at timestamp with time zone DEFAULT now() NOT NULL,
    history text NOT NULL,
    readings bigint NOT NULL,
    CONSTRAINT moved_readings_history_check CHECK ((history = ANY (ARRAY['meter_telemetry_history'::text, 'vehicle_telemetry_history'::text, 'meter_register_history'::text])))
);

COMMENT ON COLUMN public.moved_readings.readings IS 'from another cell; negative: to another cell. Without intervals that follow from registers';

CREATE TABLE public.offset_decisions (
    consumer_group text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    decided_at timestamp with time zone DEFAULT now() NOT NULL,
    decided_by text DEFAULT SESSION_USER NOT NULL,
    from_offset bigint NOT NULL,
    to_offset bigint NOT NULL,
    reason text NOT NULL
);

CREATE TABLE public.packed_indexes (
    index_name text NOT NULL,
    built oid NOT NULL,
    bytes_before bigint NOT NULL,
    begun_at timestamp with time zone DEFAULT now() NOT NULL,
    bytes_after bigint,
    packed_at timestamp with time zone,
    CONSTRAINT packed_indexes_check CHECK (((bytes_after IS NULL) = (packed_at IS NULL)))
);

CREATE TABLE public.retired_months (
    history text NOT NULL,
    month date NOT NULL,
    retired_at timestamp with time zone DEFAULT now() NOT NULL,
    readings bigint NOT NULL,
    derived bigint DEFAULT 0 NOT NULL,
    archived_in text,
    CONSTRAINT retired_months_check CHECK (((derived >= 0) AND (derived <= readings))),
    CONSTRAINT retired_months_history_check CHECK ((history = ANY (ARRAY['meter_telemetry_history'::text, 'vehicle_telemetry_history'::text, 'meter_register_history'::text]))),
    CONSTRAINT retired_months_readings_check CHECK ((readings > 0))
);

COMMENT ON COLUMN public.retired_months.derived IS 'of the readings: intervals that follow from registers, which no record carried';

COMMENT ON COLUMN public.retired_months.archived_in IS 'directory below ARCHIVE_DIRECTORY; NULL: dropped without an archive';

CREATE TABLE public.retired_records (
    topic text NOT NULL,
    dead_letters bigint DEFAULT 0 NOT NULL
);

CREATE TABLE public.schema_migrations (
    version character varying NOT NULL
);

CREATE TABLE public.topic_breakers (
    consumer_group text NOT NULL,
    topic text NOT NULL,
    state text NOT NULL,
    detail text NOT NULL,
    changed_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT topic_breakers_state_check CHECK ((state = ANY (ARRAY['open'::text, 'letting_through'::text])))
);

CREATE UNLOGGED TABLE public.vehicle_carried_sums (
    hour timestamp with time zone NOT NULL,
    closes timestamp with time zone NOT NULL,
    kwh_delivered_dc double precision NOT NULL,
    battery_temp_sum double precision NOT NULL,
    readings bigint NOT NULL,
    rolled_up_to timestamp with time zone NOT NULL,
    rolled_up_kwh double precision NOT NULL,
    rolled_up_battery_temp_sum double precision NOT NULL,
    rolled_up_readings bigint NOT NULL,
    vehicle_id text NOT NULL COLLATE pg_catalog."C"
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0.05');

CREATE TABLE public.vehicle_days (
    day date NOT NULL,
    readings integer NOT NULL,
    vehicle_id text NOT NULL COLLATE pg_catalog."C",
    recorded public.instant_series NOT NULL,
    ingested public.number_series NOT NULL,
    kwh_delivered_dc public.number_series NOT NULL,
    soc public.number_series NOT NULL,
    battery_temp public.number_series NOT NULL,
    hourly_readings integer[] NOT NULL,
    hourly_kwh_delivered_dc double precision[] NOT NULL,
    hourly_battery_temp_sum double precision[] NOT NULL,
    hourly_battery_temp_max double precision[] NOT NULL,
    hourly_soc_min double precision[] NOT NULL,
    hourly_soc_max double precision[] NOT NULL,
    CONSTRAINT vehicle_days_readings_check CHECK ((readings > 0))
)
PARTITION BY RANGE (day);

COMMENT ON COLUMN public.vehicle_days.ingested IS 'milliseconds after recorded_at; what is finer is lost';

COMMENT ON COLUMN public.vehicle_days.hourly_readings IS 'of each hour of the day, 24 of them';

CREATE TABLE public.vehicle_energy_hourly (
    hour timestamp with time zone NOT NULL,
    kwh_delivered_dc double precision NOT NULL,
    battery_temp_sum double precision NOT NULL,
    battery_temp_max double precision NOT NULL,
    soc_min double precision NOT NULL,
    soc_max double precision NOT NULL,
    readings integer NOT NULL,
    vehicle_id text NOT NULL COLLATE pg_catalog."C",
    CONSTRAINT vehicle_energy_hourly_readings_check CHECK ((readings > 0))
)
PARTITION BY RANGE (hour);

CREATE VIEW public.vehicle_hours AS
 SELECT vehicle_energy_hourly.vehicle_id,
    vehicle_energy_hourly.hour,
    vehicle_energy_hourly.kwh_delivered_dc,
    vehicle_energy_hourly.battery_temp_sum,
    vehicle_energy_hourly.battery_temp_max,
    vehicle_energy_hourly.soc_min,
    vehicle_energy_hourly.soc_max,
    vehicle_energy_hourly.readings,
    public.utc_day(vehicle_energy_hourly.hour) AS day
   FROM public.vehicle_energy_hourly
  WHERE (vehicle_energy_hourly.hour >= ( SELECT rollup_state.folded_before
           FROM public.rollup_state))
UNION ALL
 SELECT folded.vehicle_id,
    sums.hour,
    sums.kwh_delivered_dc,
    sums.battery_temp_sum,
    sums.battery_temp_max,
    sums.soc_min,
    sums.soc_max,
    sums.readings,
    folded.day
   FROM (public.vehicle_days folded
     CROSS JOIN LATERAL ROWS FROM(generate_series(((folded.day)::timestamp without time zone AT TIME ZONE 'UTC'::text), (((folded.day)::timestamp without time zone AT TIME ZONE 'UTC'::text) + '23:00:00'::interval), '01:00:00'::interval), unnest(folded.hourly_kwh_delivered_dc), unnest(folded.hourly_battery_temp_sum), unnest(folded.hourly_battery_temp_max), unnest(folded.hourly_soc_min), unnest(folded.hourly_soc_max), unnest(folded.hourly_readings)) sums(hour, kwh_delivered_dc, battery_temp_sum, battery_temp_max, soc_min, soc_max, readings))
  WHERE ((folded.day < ( SELECT public.first_day_not_folded() AS first_day_not_folded)) AND (sums.readings > 0));

CREATE UNLOGGED TABLE public.vehicle_leaving_hours (
    hour timestamp with time zone NOT NULL,
    vehicle_id text NOT NULL COLLATE pg_catalog."C",
    minutes_left smallint[],
    kwh_delivered_dc double precision[],
    battery_temp_sum double precision[]
);

CREATE TABLE public.vehicle_live_status (
    vehicle_id text NOT NULL COLLATE pg_catalog."C",
    soc double precision NOT NULL,
    last_kwh_delivered_dc double precision NOT NULL,
    last_battery_temp double precision NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0.05');

CREATE TABLE public.vehicle_meter_assignments (
    vehicle_id text NOT NULL COLLATE pg_catalog."C",
    meter_id text NOT NULL COLLATE pg_catalog."C",
    valid_during tstzrange NOT NULL,
    source text NOT NULL,
    superseded boolean DEFAULT false NOT NULL,
    CONSTRAINT vehicle_meter_assignments_meter_id_check CHECK (((octet_length(meter_id) >= 1) AND (octet_length(meter_id) <= 64))),
    CONSTRAINT vehicle_meter_assignments_valid_during_check CHECK (((NOT isempty(valid_during)) AND lower_inc(valid_during) AND (NOT lower_inf(valid_during)) AND (NOT upper_inc(valid_during)))),
    CONSTRAINT vehicle_meter_assignments_vehicle_id_check CHECK (((octet_length(vehicle_id) >= 1) AND (octet_length(vehicle_id) <= 64)))
);

CREATE TABLE public.vehicle_telemetry_history (
    recorded_at timestamp with time zone NOT NULL,
    ingested_at timestamp with time zone DEFAULT now() NOT NULL,
    kwh_delivered_dc double precision NOT NULL,
    soc double precision NOT NULL,
    battery_temp double precision NOT NULL,
    vehicle_id text NOT NULL COLLATE pg_catalog."C",
    CONSTRAINT vehicle_telemetry_history_battery_temp_check CHECK (((battery_temp >= ('-60'::integer)::double precision) AND (battery_temp <= (150)::double precision))),
    CONSTRAINT vehicle_telemetry_history_kwh_delivered_dc_check CHECK (((kwh_delivered_dc >= (0)::double precision) AND (kwh_delivered_dc <= (1000)::double precision))),
    CONSTRAINT vehicle_telemetry_history_soc_check CHECK (((soc >= (0)::double precision) AND (soc <= (100)::double precision))),
    CONSTRAINT vehicle_telemetry_history_vehicle_id_check CHECK (((octet_length(vehicle_id) >= 1) AND (octet_length(vehicle_id) <= 64)))
)
PARTITION BY RANGE (recorded_at);

COMMENT ON COLUMN public.vehicle_telemetry_history.recorded_at IS 'the device''s clock; ingested_at is the server''s';

CREATE VIEW public.vehicle_readings AS
 SELECT vehicle_telemetry_history.vehicle_id,
    vehicle_telemetry_history.recorded_at,
    vehicle_telemetry_history.ingested_at,
    vehicle_telemetry_history.kwh_delivered_dc,
    vehicle_telemetry_history.soc,
    vehicle_telemetry_history.battery_temp,
    ((vehicle_telemetry_history.recorded_at AT TIME ZONE 'UTC'::text))::date AS day
   FROM public.vehicle_telemetry_history
  WHERE (vehicle_telemetry_history.recorded_at >= ( SELECT rollup_state.folded_before
           FROM public.rollup_state))
UNION ALL
 SELECT folded.vehicle_id,
    series.recorded_at[number.number] AS recorded_at,
    (date_trunc('milliseconds'::text, series.recorded_at[number.number]) + (series.ingested_after[number.number] * '00:00:00.001'::interval)) AS ingested_at,
    series.kwh_delivered_dc[number.number] AS kwh_delivered_dc,
    series.soc[number.number] AS soc,
    series.battery_temp[number.number] AS battery_temp,
    folded.day
   FROM ((public.vehicle_days folded
     CROSS JOIN LATERAL ( SELECT public.decode_instants(folded.recorded) AS recorded_at,
            public.decode_series(folded.ingested) AS ingested_after,
            public.decode_series(folded.kwh_delivered_dc) AS kwh_delivered_dc,
            public.decode_series(folded.soc) AS soc,
            public.decode_series(folded.battery_temp) AS battery_temp
         OFFSET 0) series)
     CROSS JOIN LATERAL generate_series(1, folded.readings) number(number))
  WHERE (folded.day < ( SELECT public.first_day_not_folded() AS first_day_not_folded))
UNION ALL
 SELECT vehicle_late_readings.vehicle_id,
    vehicle_late_readings.recorded_at,
    vehicle_late_readings.ingested_at,
    vehicle_late_readings.kwh_delivered_dc,
    vehicle_late_readings.soc,
    vehicle_late_readings.battery_temp,
    ((vehicle_late_readings.recorded_at AT TIME ZONE 'UTC'::text))::date AS day
   FROM public.vehicle_late_readings;

CREATE TABLE public.vehicle_search (
    vehicle_id text NOT NULL COLLATE pg_catalog."C"
);

CREATE TABLE public.vehicle_trends (
    vehicle_id text NOT NULL COLLATE pg_catalog."C",
    computed_at timestamp with time zone NOT NULL,
    last_day date NOT NULL,
    days integer NOT NULL,
    slope double precision,
    slope_low double precision,
    slope_high double precision,
    level double precision,
    status text NOT NULL,
    days_until_fault double precision,
    CONSTRAINT vehicle_trends_check CHECK (((status = 'insufficient_data'::text) OR (slope IS NOT NULL))),
    CONSTRAINT vehicle_trends_status_check CHECK ((status = ANY (ARRAY['steady'::text, 'aging'::text, 'improving'::text, 'insufficient_data'::text])))
);

COMMENT ON COLUMN public.vehicle_trends.level IS 'the fitted efficiency of the last day, per cent';

ALTER TABLE ONLY public.alert_outbox
    ADD CONSTRAINT alert_outbox_pkey PRIMARY KEY (event_id);

ALTER TABLE ONLY public.assignment_declarations
    ADD CONSTRAINT assignment_declarations_pkey PRIMARY KEY (declaration_id);

ALTER TABLE ONLY public.assignment_positions
    ADD CONSTRAINT assignment_positions_pkey PRIMARY KEY (consumer_group, topic, partition, vehicle_id, valid_from);

ALTER TABLE ONLY public.dead_letters
    ADD CONSTRAINT dead_letters_pkey PRIMARY KEY (consumer_group, topic, partition, "offset", incarnation);

ALTER TABLE ONLY public.device_totals
    ADD CONSTRAINT device_totals_pkey PRIMARY KEY (only_row);

ALTER TABLE ONLY public.efficiency_faults
    ADD CONSTRAINT efficiency_faults_pkey PRIMARY KEY (fault_id);

ALTER TABLE ONLY public.evaluation_round
    ADD CONSTRAINT evaluation_round_pkey PRIMARY KEY (only_row);

ALTER TABLE ONLY public.evaluation_totals
    ADD CONSTRAINT evaluation_totals_pkey PRIMARY KEY (status, bucket);

ALTER TABLE ONLY public.kafka_offsets
    ADD CONSTRAINT kafka_offsets_pkey PRIMARY KEY (consumer_group, topic, partition);

ALTER TABLE ONLY public.maintenance_runs
    ADD CONSTRAINT maintenance_runs_pkey PRIMARY KEY (task);

ALTER TABLE ONLY public.meter_carried_sums
    ADD CONSTRAINT meter_carried_sums_pkey PRIMARY KEY (meter_id, hour);

ALTER TABLE ONLY public.meter_days
    ADD CONSTRAINT meter_days_pkey PRIMARY KEY (meter_id, day);

ALTER TABLE ONLY public.meter_energy_hourly
    ADD CONSTRAINT meter_energy_hourly_pkey PRIMARY KEY (meter_id, hour);

ALTER TABLE ONLY public.meter_late_readings
    ADD CONSTRAINT meter_late_readings_pkey PRIMARY KEY (meter_id, recorded_at);

ALTER TABLE ONLY public.meter_leaving_hours
    ADD CONSTRAINT meter_leaving_hours_pkey PRIMARY KEY (meter_id, hour);

ALTER TABLE ONLY public.meter_live_status
    ADD CONSTRAINT meter_live_status_pkey PRIMARY KEY (meter_id);

ALTER TABLE ONLY public.meter_register_history
    ADD CONSTRAINT meter_register_history_pkey PRIMARY KEY (meter_id, recorded_at);

ALTER TABLE public.meter_telemetry_history
    ADD CONSTRAINT meter_telemetry_history_kwh_consumed_ac_check CHECK (((kwh_consumed_ac >= (0)::double precision) AND (kwh_consumed_ac <= ('1000000000'::numeric)::double precision))) NOT VALID;

ALTER TABLE ONLY public.meter_telemetry_history
    ADD CONSTRAINT meter_telemetry_history_pkey PRIMARY KEY (meter_id, recorded_at);

ALTER TABLE ONLY public.vehicle_meter_assignments
    ADD CONSTRAINT one_meter_at_a_time EXCLUDE USING gist (vehicle_id WITH =, valid_during WITH &&);

ALTER TABLE ONLY public.vehicle_meter_assignments
    ADD CONSTRAINT one_vehicle_at_a_time EXCLUDE USING gist (meter_id WITH =, valid_during WITH &&);

ALTER TABLE ONLY public.packed_indexes
    ADD CONSTRAINT packed_indexes_pkey PRIMARY KEY (index_name);

ALTER TABLE ONLY public.register_days
    ADD CONSTRAINT register_days_pkey PRIMARY KEY (meter_id, day);

ALTER TABLE ONLY public.register_late_readings
    ADD CONSTRAINT register_late_readings_pkey PRIMARY KEY (meter_id, recorded_at);

ALTER TABLE ONLY public.retired_months
    ADD CONSTRAINT retired_months_pkey PRIMARY KEY (history, month, retired_at);

ALTER TABLE ONLY public.retired_records
    ADD CONSTRAINT retired_records_pkey PRIMARY KEY (topic);

ALTER TABLE ONLY public.rollup_state
    ADD CONSTRAINT rollup_state_pkey PRIMARY KEY (only_row);

ALTER TABLE ONLY public.schema_migrations
    ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (version);

ALTER TABLE ONLY public.topic_breakers
    ADD CONSTRAINT topic_breakers_pkey PRIMARY KEY (consumer_group, topic);

ALTER TABLE ONLY public.vehicle_carried_sums
    ADD CONSTRAINT vehicle_carried_sums_pkey PRIMARY KEY (vehicle_id, hour);

ALTER TABLE ONLY public.vehicle_days
    ADD CONSTRAINT vehicle_days_pkey PRIMARY KEY (vehicle_id, day);

ALTER TABLE ONLY public.vehicle_efficiency
    ADD CONSTRAINT vehicle_efficiency_pkey PRIMARY KEY (vehicle_id);

ALTER TABLE ONLY public.vehicle_energy_hourly
    ADD CONSTRAINT vehicle_energy_hourly_pkey PRIMARY KEY (vehicle_id, hour);

ALTER TABLE ONLY public.vehicle_late_readings
    ADD CONSTRAINT vehicle_late_readings_pkey PRIMARY KEY (vehicle_id, recorded_at);

ALTER TABLE ONLY public.vehicle_leaving_hours
    ADD CONSTRAINT vehicle_leaving_hours_pkey PRIMARY KEY (vehicle_id, hour);

ALTER TABLE ONLY public.vehicle_live_status
    ADD CONSTRAINT vehicle_live_status_pkey PRIMARY KEY (vehicle_id);

ALTER TABLE ONLY public.vehicle_search
    ADD CONSTRAINT vehicle_search_pkey PRIMARY KEY (vehicle_id);

ALTER TABLE ONLY public.vehicle_telemetry_history
    ADD CONSTRAINT vehicle_telemetry_history_pkey PRIMARY KEY (vehicle_id, recorded_at);

ALTER TABLE ONLY public.vehicle_trends
    ADD CONSTRAINT vehicle_trends_pkey PRIMARY KEY (vehicle_id);

CREATE INDEX alert_outbox_published ON public.alert_outbox USING btree (published_at) WHERE (published_at IS NOT NULL);

CREATE INDEX alert_outbox_unpublished ON public.alert_outbox USING btree (event_id) WHERE (published_at IS NULL);

CREATE INDEX assignment_declarations_of_vehicle ON public.assignment_declarations USING btree (vehicle_id, valid_from, declaration_id);

CREATE INDEX dead_letters_resolved ON public.dead_letters USING btree (resolved_at) WHERE (resolved_at IS NOT NULL);

CREATE INDEX dead_letters_unresolved ON public.dead_letters USING btree (topic, reason) WHERE (resolved_at IS NULL);

CREATE INDEX efficiency_faults_of_vehicle ON public.efficiency_faults USING btree (vehicle_id, fault_id);

CREATE UNIQUE INDEX efficiency_faults_one_open ON public.efficiency_faults USING btree (vehicle_id) WHERE (closed_at IS NULL);

CREATE INDEX efficiency_faults_open ON public.efficiency_faults USING btree (fault_id) WHERE (closed_at IS NULL);

CREATE INDEX late_hours_by_hour ON public.late_hours USING btree (side, hour, device_id);

CREATE INDEX meter_late_readings_by_instant ON public.meter_late_readings USING btree (recorded_at);

CREATE INDEX register_late_readings_by_instant ON public.register_late_readings USING btree (recorded_at);

CREATE INDEX vehicle_efficiency_by_efficiency ON public.vehicle_efficiency USING btree (status, efficiency_step, vehicle_id);

CREATE INDEX vehicle_efficiency_by_energy_ac ON public.vehicle_efficiency USING btree (status, energy_ac_step, vehicle_id);

CREATE INDEX vehicle_efficiency_by_energy_dc ON public.vehicle_efficiency USING btree (status, energy_dc_step, vehicle_id);

CREATE INDEX vehicle_efficiency_by_temperature ON public.vehicle_efficiency USING btree (status, temperature_step, vehicle_id);

CREATE INDEX vehicle_late_readings_by_instant ON public.vehicle_late_readings USING btree (recorded_at);

CREATE INDEX vehicle_meter_assignments_of_vehicle ON public.vehicle_meter_assignments USING btree (vehicle_id) INCLUDE (meter_id, valid_during);

CREATE INDEX vehicle_search_parts ON public.vehicle_search USING gin (lower(vehicle_id) public.gin_trgm_ops) WITH (gin_pending_list_limit='256');

CREATE INDEX vehicle_trends_aging ON public.vehicle_trends USING btree (days_until_fault, vehicle_id) WHERE (status = 'aging'::text);

CREATE TRIGGER add_to_search AFTER INSERT ON public.vehicle_efficiency REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION public.add_to_vehicle_search();

CREATE TRIGGER keep_halted_offset BEFORE UPDATE ON public.kafka_offsets FOR EACH ROW WHEN (((old.halt_reason IS NOT NULL) AND (new.halt_reason IS NOT NULL) AND (new.next_offset <> old.next_offset))) EXECUTE FUNCTION public.keep_halted_offset();

CREATE TRIGGER remove_from_search AFTER DELETE ON public.vehicle_efficiency REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION public.remove_from_vehicle_search();

GRANT USAGE ON SCHEMA public TO energy_writer;
GRANT USAGE ON SCHEMA public TO energy_reader;

REVOKE ALL ON FUNCTION public.add_to_vehicle_search() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.are_integers_over(numbers double precision[], factor double precision) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.are_kept(instants timestamp with time zone[], replaced timestamp with time zone[]) FROM PUBLIC;
GRANT ALL ON FUNCTION public.are_kept(instants timestamp with time zone[], replaced timestamp with time zone[]) TO energy_reader;
GRANT ALL ON FUNCTION public.are_kept(instants timestamp with time zone[], replaced timestamp with time zone[]) TO energy_writer;

REVOKE ALL ON FUNCTION public.around_whole_hours(begins timestamp with time zone, ends timestamp with time zone, complete_before timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION public.around_whole_hours(begins timestamp with time zone, ends timestamp with time zone, complete_before timestamp with time zone) TO energy_reader;

REVOKE ALL ON FUNCTION public.carried_energy_of(asked_ids text[], window_hour timestamp with time zone, window_opens timestamp with time zone, window_closes timestamp with time zone, carried_since timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.contents_of(part regclass, energy name, columns text[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.count_vehicles(status text, search text, most integer) FROM PUBLIC;
GRANT ALL ON FUNCTION public.count_vehicles(status text, search text, most integer) TO energy_reader;

REVOKE ALL ON FUNCTION public.create_history_partition(parent text, opens timestamp with time zone, unit text) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.declare_assignments(vehicles text[], meters text[], starts timestamp with time zone[], ends timestamp with time zone[], origin text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.declare_assignments(vehicles text[], meters text[], starts timestamp with time zone[], ends timestamp with time zone[], origin text) TO energy_writer;

REVOKE ALL ON FUNCTION public.decode_instants(series public.instant_series, first integer, last integer) FROM PUBLIC;
GRANT ALL ON FUNCTION public.decode_instants(series public.instant_series, first integer, last integer) TO energy_reader;
GRANT ALL ON FUNCTION public.decode_instants(series public.instant_series, first integer, last integer) TO energy_writer;

REVOKE ALL ON FUNCTION public.decode_instants(series public.instant_series) FROM PUBLIC;
GRANT ALL ON FUNCTION public.decode_instants(series public.instant_series) TO energy_reader;
GRANT ALL ON FUNCTION public.decode_instants(series public.instant_series) TO energy_writer;

REVOKE ALL ON FUNCTION public.decode_series(series public.number_series, first integer, last integer) FROM PUBLIC;
GRANT ALL ON FUNCTION public.decode_series(series public.number_series, first integer, last integer) TO energy_reader;
GRANT ALL ON FUNCTION public.decode_series(series public.number_series, first integer, last integer) TO energy_writer;

REVOKE ALL ON FUNCTION public.decode_series(series public.number_series) FROM PUBLIC;
GRANT ALL ON FUNCTION public.decode_series(series public.number_series) TO energy_reader;
GRANT ALL ON FUNCTION public.decode_series(series public.number_series) TO energy_writer;

REVOKE ALL ON FUNCTION public.deliverable_kwh(elapsed interval) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.derive_intervals(meters text[], earliest timestamp with time zone[], latest timestamp with time zone[], jitter double precision) FROM PUBLIC;
GRANT ALL ON FUNCTION public.derive_intervals(meters text[], earliest timestamp with time zone[], latest timestamp with time zone[], jitter double precision) TO energy_writer;

REVOKE ALL ON FUNCTION public.encode_instants(instants timestamp with time zone[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.encode_series(numbers double precision[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.ensure_history_partitions(oldest timestamp with time zone, newest timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.exact_milliseconds(earlier timestamp with time zone, later timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.first_day_not_folded() FROM PUBLIC;
GRANT ALL ON FUNCTION public.first_day_not_folded() TO energy_reader;
GRANT ALL ON FUNCTION public.first_day_not_folded() TO energy_writer;

REVOKE ALL ON FUNCTION public.first_whole_hour(opens timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION public.first_whole_hour(opens timestamp with time zone) TO energy_reader;

REVOKE ALL ON FUNCTION public.fold_meter_day(meter text, folded_day date) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.fold_register_day(meter text, folded_day date) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.fold_vehicle_day(vehicle text, folded_day date) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.hold_late_before() FROM PUBLIC;
GRANT ALL ON FUNCTION public.hold_late_before() TO energy_writer;

REVOKE ALL ON FUNCTION public.hold_merging() FROM PUBLIC;
GRANT ALL ON FUNCTION public.hold_merging() TO energy_writer;

REVOKE ALL ON FUNCTION public.hold_watermarks() FROM PUBLIC;
GRANT ALL ON FUNCTION public.hold_watermarks() TO energy_writer;

REVOKE ALL ON FUNCTION public.keep_halted_offset() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.last_whole_hour(closes timestamp with time zone, complete_before timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION public.last_whole_hour(closes timestamp with time zone, complete_before timestamp with time zone) TO energy_reader;

REVOKE ALL ON FUNCTION public.meter_energy(meter text, opens timestamp with time zone, closes timestamp with time zone, complete_before timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION public.meter_energy(meter text, opens timestamp with time zone, closes timestamp with time zone, complete_before timestamp with time zone) TO energy_reader;

REVOKE ALL ON FUNCTION public.meter_readings_during(meter text, opens timestamp with time zone, closes timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION public.meter_readings_during(meter text, opens timestamp with time zone, closes timestamp with time zone) TO energy_reader;

REVOKE ALL ON FUNCTION public.narrow_history_partition(parent text, part text, opens timestamp with time zone, closes timestamp with time zone, unit text) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.next_assignment(vehicle text, meter text, begun timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION public.next_assignment(vehicle text, meter text, begun timestamp with time zone) TO energy_writer;

REVOKE ALL ON FUNCTION public.next_fault_id() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.next_register(walk public.register_walk, recorded_at timestamp with time zone, register double precision, jitter double precision, before double precision, before_at timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.positions_during(opens timestamp with time zone, closes timestamp with time zone, day date, hourly_readings integer[]) FROM PUBLIC;
GRANT ALL ON FUNCTION public.positions_during(opens timestamp with time zone, closes timestamp with time zone, day date, hourly_readings integer[]) TO energy_reader;

REVOKE ALL ON FUNCTION public.ranked_vehicles(sort text, descending boolean, status text, search text, few boolean, after_rank double precision, after_id text, row_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION public.ranked_vehicles(sort text, descending boolean, status text, search text, few boolean, after_rank double precision, after_id text, row_limit integer) TO energy_reader;

GRANT SELECT,INSERT ON TABLE public.meter_register_history TO energy_writer;
GRANT SELECT ON TABLE public.meter_register_history TO energy_reader;

GRANT SELECT ON TABLE public.register_days TO energy_reader;
GRANT SELECT ON TABLE public.register_days TO energy_writer;

GRANT SELECT ON TABLE public.register_late_readings TO energy_reader;
GRANT SELECT,INSERT ON TABLE public.register_late_readings TO energy_writer;

GRANT SELECT ON TABLE public.rollup_state TO energy_writer;
GRANT SELECT ON TABLE public.rollup_state TO energy_reader;

GRANT SELECT ON TABLE public.register_readings TO energy_reader;
GRANT SELECT ON TABLE public.register_readings TO energy_writer;

REVOKE ALL ON FUNCTION public.registers_before(before timestamp with time zone, meter text, earliest timestamp with time zone, latest timestamp with time zone, number_after bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.remove_from_vehicle_search() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.search_pattern(search text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.search_pattern(search text) TO energy_reader;

GRANT SELECT ON TABLE public.evaluation_totals TO energy_reader;

GRANT SELECT ON TABLE public.vehicle_efficiency TO energy_reader;

REVOKE ALL ON FUNCTION public.sum_evaluations(bounds double precision[]) FROM PUBLIC;
GRANT ALL ON FUNCTION public.sum_evaluations(bounds double precision[]) TO energy_reader;

REVOKE ALL ON FUNCTION public.utc_day(instant timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION public.utc_day(instant timestamp with time zone) TO energy_reader;

REVOKE ALL ON FUNCTION public.vehicle_energy(vehicle text, opens timestamp with time zone, closes timestamp with time zone, complete_before timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vehicle_energy(vehicle text, opens timestamp with time zone, closes timestamp with time zone, complete_before timestamp with time zone) TO energy_reader;

REVOKE ALL ON FUNCTION public.vehicle_readings_during(vehicle text, opens timestamp with time zone, closes timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vehicle_readings_during(vehicle text, opens timestamp with time zone, closes timestamp with time zone) TO energy_reader;

REVOKE ALL ON FUNCTION public.vehicles_matching(status text, search text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.vehicles_matching(status text, search text) TO energy_reader;

REVOKE ALL ON FUNCTION public.whole_hours(begins timestamp with time zone, ends timestamp with time zone, complete_before timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION public.whole_hours(begins timestamp with time zone, ends timestamp with time zone, complete_before timestamp with time zone) TO energy_reader;

REVOKE ALL ON FUNCTION public.whole_milliseconds(earlier timestamp with time zone, later timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.walk_registers(timestamp with time zone, double precision, double precision, double precision, timestamp with time zone) FROM PUBLIC;

GRANT SELECT ON TABLE public.alert_outbox TO energy_writer;

GRANT UPDATE(published_at) ON TABLE public.alert_outbox TO energy_writer;

GRANT SELECT,INSERT ON TABLE public.assignment_declarations TO energy_writer;
GRANT SELECT ON TABLE public.assignment_declarations TO energy_reader;

GRANT SELECT,INSERT,UPDATE ON TABLE public.assignment_positions TO energy_writer;

GRANT INSERT ON TABLE public.late_hours TO energy_writer;
GRANT SELECT ON TABLE public.late_hours TO energy_reader;

GRANT SELECT ON TABLE public.meter_late_readings TO energy_reader;
GRANT SELECT,INSERT ON TABLE public.meter_late_readings TO energy_writer;

GRANT SELECT ON TABLE public.vehicle_late_readings TO energy_reader;
GRANT SELECT,INSERT ON TABLE public.vehicle_late_readings TO energy_writer;

GRANT SELECT ON TABLE public.changed_hours TO energy_reader;

GRANT INSERT ON TABLE public.dead_letters TO energy_writer;

GRANT SELECT(consumer_group) ON TABLE public.dead_letters TO energy_reader;
GRANT SELECT(consumer_group) ON TABLE public.dead_letters TO energy_writer;

GRANT SELECT(topic) ON TABLE public.dead_letters TO energy_reader;
GRANT SELECT(topic) ON TABLE public.dead_letters TO energy_writer;

GRANT SELECT(partition) ON TABLE public.dead_letters TO energy_reader;
GRANT SELECT(partition) ON TABLE public.dead_letters TO energy_writer;

GRANT SELECT("offset") ON TABLE public.dead_letters TO energy_reader;
GRANT SELECT("offset") ON TABLE public.dead_letters TO energy_writer;

GRANT SELECT(reason) ON TABLE public.dead_letters TO energy_reader;

GRANT SELECT(rejected_at) ON TABLE public.dead_letters TO energy_reader;

GRANT SELECT(resolved_at) ON TABLE public.dead_letters TO energy_reader;

GRANT SELECT(resolution) ON TABLE public.dead_letters TO energy_reader;

GRANT SELECT(incarnation) ON TABLE public.dead_letters TO energy_writer;
GRANT SELECT(incarnation) ON TABLE public.dead_letters TO energy_reader;

GRANT SELECT ON TABLE public.device_totals TO energy_reader;

GRANT SELECT ON TABLE public.efficiency_faults TO energy_reader;

GRANT SELECT,INSERT,UPDATE ON TABLE public.kafka_offsets TO energy_writer;
GRANT SELECT ON TABLE public.kafka_offsets TO energy_reader;

GRANT SELECT ON TABLE public.meter_days TO energy_reader;
GRANT SELECT ON TABLE public.meter_days TO energy_writer;

GRANT SELECT ON TABLE public.meter_energy_hourly TO energy_reader;

GRANT SELECT ON TABLE public.meter_hours TO energy_reader;

GRANT SELECT,INSERT,UPDATE ON TABLE public.meter_live_status TO energy_writer;
GRANT SELECT ON TABLE public.meter_live_status TO energy_reader;

GRANT SELECT,INSERT ON TABLE public.meter_telemetry_history TO energy_writer;
GRANT SELECT ON TABLE public.meter_telemetry_history TO energy_reader;

GRANT SELECT ON TABLE public.meter_readings TO energy_reader;
GRANT SELECT ON TABLE public.meter_readings TO energy_writer;

GRANT SELECT ON TABLE public.moved_readings TO energy_reader;

GRANT SELECT ON TABLE public.offset_decisions TO energy_reader;

GRANT SELECT ON TABLE public.retired_months TO energy_reader;

GRANT SELECT ON TABLE public.retired_records TO energy_reader;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.topic_breakers TO energy_writer;
GRANT SELECT ON TABLE public.topic_breakers TO energy_reader;

GRANT SELECT ON TABLE public.vehicle_days TO energy_reader;
GRANT SELECT ON TABLE public.vehicle_days TO energy_writer;

GRANT SELECT ON TABLE public.vehicle_energy_hourly TO energy_reader;

GRANT SELECT ON TABLE public.vehicle_hours TO energy_reader;

GRANT SELECT,INSERT,UPDATE ON TABLE public.vehicle_live_status TO energy_writer;
GRANT SELECT ON TABLE public.vehicle_live_status TO energy_reader;

GRANT SELECT ON TABLE public.vehicle_meter_assignments TO energy_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.vehicle_meter_assignments TO energy_writer;

GRANT SELECT,INSERT ON TABLE public.vehicle_telemetry_history TO energy_writer;
GRANT SELECT ON TABLE public.vehicle_telemetry_history TO energy_reader;

GRANT SELECT ON TABLE public.vehicle_readings TO energy_reader;
GRANT SELECT ON TABLE public.vehicle_readings TO energy_writer;

GRANT SELECT ON TABLE public.vehicle_search TO energy_reader;

GRANT SELECT ON TABLE public.vehicle_trends TO energy_reader;

ALTER DEFAULT PRIVILEGES FOR ROLE migrator REVOKE ALL ON FUNCTIONS FROM PUBLIC;
