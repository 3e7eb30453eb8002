-- name: mark_late(side, devices, hours)!
-- Marks hours that were already rolled up and that readings of this transaction have changed.
INSERT INTO late_hours (side, device_id, hour)
SELECT :side, marked.* FROM unnest(:devices::text[], :hours::timestamptz[]) AS marked;

-- name: rollup_state()^
-- An instant that was never set is NULL.
SELECT nullif(late_before, '-infinity') AS late_before, nullif(complete_before, '-infinity') AS complete_before, refreshed_at
FROM rollup_state;

-- name: wait_for_writers()^
-- Waits for all transactions that rely on the present late_before, and blocks new ones until this transaction ends.
SELECT pg_advisory_xact_lock(hashtext('energy.late_before'))::text AS waited;

-- name: move_late_before(instant)!
UPDATE rollup_state SET late_before = greatest(late_before, :instant);

-- name: move_complete_before(instant)!
UPDATE rollup_state SET complete_before = :instant, refreshed_at = now();

-- name: move_watermarks_back(ended, now)^
-- Moves watermarks that lie ahead of the clock back to an hour that has ended, but not into folded days; returns where late_before was.
-- Until those hours are rolled up again, history answers for them. Writers that still rely on the former late_before mark more hours
-- than necessary. Carried sums are forgotten: readings that come for them from now on may have no mark.
WITH moved AS (
    UPDATE rollup_state AS state
    SET late_before = least(state.late_before, greatest(:ended, state.folding_before)),
        complete_before = least(state.complete_before, greatest(:ended, state.folding_before))
    FROM (SELECT late_before FROM rollup_state) AS former
    WHERE state.late_before > greatest(:now, state.folding_before)
    RETURNING former.late_before AS was
), meters AS (
    DELETE FROM meter_carried_sums WHERE EXISTS (SELECT FROM moved)
), vehicles AS (
    DELETE FROM vehicle_carried_sums WHERE EXISTS (SELECT FROM moved)
)
SELECT was FROM moved;

-- name: record_refresh()!
UPDATE rollup_state SET refreshed_at = now();

-- name: oldest_reading()^
-- The oldest reading of all devices; NULL when there is none.
SELECT least(
    (
        SELECT min(first.recorded_at) FROM meter_live_status AS live CROSS JOIN LATERAL (
            SELECT recorded_at FROM meter_telemetry_history AS history
            WHERE history.meter_id = live.meter_id ORDER BY recorded_at LIMIT 1
        ) AS first
    ),
    (
        SELECT min(first.recorded_at) FROM vehicle_live_status AS live CROSS JOIN LATERAL (
            SELECT recorded_at FROM vehicle_telemetry_history AS history
            WHERE history.vehicle_id = live.vehicle_id ORDER BY recorded_at LIMIT 1
        ) AS first
    )
) AS recorded_at;

-- name: roll_up_meters(opens, closes, after, row_limit)^
-- Rolls up the whole hours of [opens, closes) of the next meters from history, in the order of their ids, after the given one.
-- Returns the number of hours, and the last of these meters; NULL: there was none left.
WITH devices AS MATERIALIZED (
    SELECT meter_id FROM meter_live_status WHERE meter_id > :after ORDER BY meter_id LIMIT :row_limit
), rolled AS (
    INSERT INTO meter_energy_hourly AS hourly (meter_id, hour, kwh_consumed_ac, readings)
    SELECT live.meter_id, each.hour, part.kwh, part.readings
    FROM devices AS live
    CROSS JOIN generate_series(:opens::timestamptz, :closes::timestamptz - interval '1 hour', interval '1 hour') AS each (hour)
    CROSS JOIN LATERAL (
        SELECT sum(history.kwh_consumed_ac) AS kwh, count(*) AS readings
        FROM meter_telemetry_history AS history
        WHERE history.meter_id = live.meter_id
            AND history.recorded_at >= each.hour AND history.recorded_at < each.hour + interval '1 hour'
    ) AS part
    WHERE part.readings > 0
    ON CONFLICT (meter_id, hour) DO UPDATE
    SET kwh_consumed_ac = excluded.kwh_consumed_ac, readings = excluded.readings
    RETURNING 1
)
SELECT (SELECT count(*) FROM rolled) AS hours, (SELECT max(meter_id) FROM devices) AS last;

-- name: roll_up_vehicles(opens, closes, after, row_limit)^
WITH devices AS MATERIALIZED (
    SELECT vehicle_id FROM vehicle_live_status WHERE vehicle_id > :after ORDER BY vehicle_id LIMIT :row_limit
), rolled AS (
    INSERT INTO vehicle_energy_hourly AS hourly
        (vehicle_id, hour, kwh_delivered_dc, battery_temp_sum, battery_temp_max, soc_min, soc_max, readings)
    SELECT live.vehicle_id, each.hour, part.*
    FROM devices AS live
    CROSS JOIN generate_series(:opens::timestamptz, :closes::timestamptz - interval '1 hour', interval '1 hour') AS each (hour)
    CROSS JOIN LATERAL (
        SELECT sum(history.kwh_delivered_dc), sum(history.battery_temp), max(history.battery_temp), min(history.soc),
            max(history.soc), count(*) AS readings
        FROM vehicle_telemetry_history AS history
        WHERE history.vehicle_id = live.vehicle_id
            AND history.recorded_at >= each.hour AND history.recorded_at < each.hour + interval '1 hour'
    ) AS part
    WHERE part.readings > 0
    ON CONFLICT (vehicle_id, hour) DO UPDATE
    SET kwh_delivered_dc = excluded.kwh_delivered_dc, battery_temp_sum = excluded.battery_temp_sum,
        battery_temp_max = excluded.battery_temp_max, soc_min = excluded.soc_min, soc_max = excluded.soc_max,
        readings = excluded.readings
    RETURNING 1
)
SELECT (SELECT count(*) FROM rolled) AS hours, (SELECT max(vehicle_id) FROM devices) AS last;

-- name: lock_rollups(side)!
-- Sums of a side are stored by one transaction at a time, also when a session of a maintenance process that has lost its lock is still
-- at work: sums of an older snapshot never replace those of a newer one.
SELECT pg_advisory_xact_lock(hashtext('energy.rollups.' || :side));

-- name: size_of_readings(parts, live)^
-- The size of these tables in pages of 8 kB, and the estimated number of devices; 1 when it is not known.
SELECT (SELECT coalesce(sum(pg_relation_size(to_regclass(part))) / 8192, 0) FROM unnest(:parts::text[]) AS part)::bigint AS pages,
    (SELECT greatest(reltuples, 1) FROM pg_class WHERE oid = to_regclass(:live))::bigint AS devices;

-- name: read_tables_whole()!
-- For the rest of the transaction. The sums of a million devices take 200 MB, and are kept on disk where the memory does not suffice.
SELECT set_config('enable_indexscan', 'off', true), set_config('enable_bitmapscan', 'off', true), set_config('work_mem', '128MB', true);

-- name: roll_up_all_meters(opens, closes)$
-- Rolls up an hour of all meters in one pass over the readings of its tables. Returns the number of meters.
WITH rolled AS (
    INSERT INTO meter_energy_hourly AS hourly (meter_id, hour, kwh_consumed_ac, readings)
    SELECT meter_id, :opens, sum(kwh_consumed_ac), count(*)
    FROM meter_telemetry_history
    WHERE recorded_at >= :opens::timestamptz AND recorded_at < :closes::timestamptz
    GROUP BY meter_id ORDER BY meter_id
    ON CONFLICT (meter_id, hour) DO UPDATE
    SET kwh_consumed_ac = excluded.kwh_consumed_ac, readings = excluded.readings
    RETURNING 1
)
SELECT count(*) FROM rolled;

-- name: roll_up_all_vehicles(opens, closes)$
WITH rolled AS (
    INSERT INTO vehicle_energy_hourly AS hourly
        (vehicle_id, hour, kwh_delivered_dc, battery_temp_sum, battery_temp_max, soc_min, soc_max, readings)
    SELECT vehicle_id, :opens, sum(kwh_delivered_dc), sum(battery_temp), max(battery_temp), min(soc), max(soc), count(*)
    FROM vehicle_telemetry_history
    WHERE recorded_at >= :opens::timestamptz AND recorded_at < :closes::timestamptz
    GROUP BY vehicle_id ORDER BY vehicle_id
    ON CONFLICT (vehicle_id, hour) DO UPDATE
    SET kwh_delivered_dc = excluded.kwh_delivered_dc, battery_temp_sum = excluded.battery_temp_sum,
        battery_temp_max = excluded.battery_temp_max, soc_min = excluded.soc_min, soc_max = excluded.soc_max,
        readings = excluded.readings
    RETURNING 1
)
SELECT count(*) FROM rolled;

-- name: late_hours(side)
-- Hours that were rolled up and that late readings have changed, oldest first.
SELECT DISTINCT hour FROM late_hours WHERE side = :side AND hour < (SELECT complete_before FROM rollup_state) ORDER BY hour;

-- name: refresh_late_meters(hour, row_limit)^
-- Rolls a late hour up again, of the next devices that are marked singly and of the next ones where it is marked for all.
-- One statement sees one snapshot: a reading that is not in these sums keeps its mark in late_hours. A pass over all devices ends
-- the marks that were there when it began; those that have come since wait for the next pass. What the evaluation carries for these
-- devices is forgotten. Returns the number of device hours, and whether more devices remain in this pass.
WITH for_all AS MATERIALIZED (
    SELECT ctid AS mark, refreshed_to FROM late_hours WHERE side = 'meter' AND hour = :hour AND device_id = ''
    ORDER BY refreshed_to DESC FETCH FIRST 1 ROW WITH TIES
), next_of_all AS MATERIALIZED (
    SELECT meter_id FROM meter_live_status
    WHERE meter_id > (SELECT max(refreshed_to) FROM for_all) ORDER BY meter_id LIMIT :row_limit
), reached AS (
    SELECT CASE WHEN count(*) = :row_limit THEN max(meter_id) END AS last FROM next_of_all -- NULL: these were the last ones
), closed AS (
    DELETE FROM late_hours WHERE ctid IN (SELECT mark FROM for_all) AND (SELECT last FROM reached) IS NULL
), advanced AS (
    UPDATE late_hours SET refreshed_to = reached.last
    FROM reached
    WHERE ctid IN (SELECT mark FROM for_all) AND reached.last IS NOT NULL
), single AS (
    DELETE FROM late_hours
    WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM late_hours WHERE side = 'meter' AND hour = :hour AND device_id > '' ORDER BY device_id LIMIT :row_limit
    ))
    RETURNING device_id
), changed AS (
    SELECT device_id AS meter_id FROM single
    UNION
    SELECT meter_id FROM next_of_all
), forgotten AS (
    DELETE FROM meter_carried_sums WHERE meter_id IN (SELECT meter_id FROM changed)
), rolled AS (
    INSERT INTO meter_energy_hourly (meter_id, hour, kwh_consumed_ac, readings)
    SELECT changed.meter_id, :hour, part.*
    FROM changed
    CROSS JOIN LATERAL (
        SELECT sum(history.kwh_consumed_ac) AS kwh, count(*) AS readings
        FROM meter_telemetry_history AS history
        WHERE history.meter_id = changed.meter_id
            AND history.recorded_at >= :hour AND history.recorded_at < :hour + interval '1 hour'
    ) AS part
    WHERE part.readings > 0
    ON CONFLICT (meter_id, hour) DO UPDATE
    SET kwh_consumed_ac = excluded.kwh_consumed_ac, readings = excluded.readings
    RETURNING 1
)
SELECT (SELECT last FROM reached) IS NOT NULL OR (SELECT count(*) FROM single) = :row_limit AS more,
    (SELECT count(*) FROM rolled) AS hours;

-- name: refresh_late_vehicles(hour, row_limit)^
WITH for_all AS MATERIALIZED (
    SELECT ctid AS mark, refreshed_to FROM late_hours WHERE side = 'vehicle' AND hour = :hour AND device_id = ''
    ORDER BY refreshed_to DESC FETCH FIRST 1 ROW WITH TIES
), next_of_all AS MATERIALIZED (
    SELECT vehicle_id FROM vehicle_live_status
    WHERE vehicle_id > (SELECT max(refreshed_to) FROM for_all) ORDER BY vehicle_id LIMIT :row_limit
), reached AS (
    SELECT CASE WHEN count(*) = :row_limit THEN max(vehicle_id) END AS last FROM next_of_all -- NULL: these were the last ones
), closed AS (
    DELETE FROM late_hours WHERE ctid IN (SELECT mark FROM for_all) AND (SELECT last FROM reached) IS NULL
), advanced AS (
    UPDATE late_hours SET refreshed_to = reached.last
    FROM reached
    WHERE ctid IN (SELECT mark FROM for_all) AND reached.last IS NOT NULL
), single AS (
    DELETE FROM late_hours
    WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM late_hours WHERE side = 'vehicle' AND hour = :hour AND device_id > '' ORDER BY device_id LIMIT :row_limit
    ))
    RETURNING device_id
), changed AS (
    SELECT device_id AS vehicle_id FROM single
    UNION
    SELECT vehicle_id FROM next_of_all
), forgotten AS (
    DELETE FROM vehicle_carried_sums WHERE vehicle_id IN (SELECT vehicle_id FROM changed)
), rolled AS (
    INSERT INTO vehicle_energy_hourly
        (vehicle_id, hour, kwh_delivered_dc, battery_temp_sum, battery_temp_max, soc_min, soc_max, readings)
    SELECT changed.vehicle_id, :hour, part.*
    FROM changed
    CROSS JOIN LATERAL (
        SELECT sum(history.kwh_delivered_dc), sum(history.battery_temp), max(history.battery_temp), min(history.soc),
            max(history.soc), count(*) AS readings
        FROM vehicle_telemetry_history AS history
        WHERE history.vehicle_id = changed.vehicle_id
            AND history.recorded_at >= :hour AND history.recorded_at < :hour + interval '1 hour'
    ) AS part
    WHERE part.readings > 0
    ON CONFLICT (vehicle_id, hour) DO UPDATE
    SET kwh_delivered_dc = excluded.kwh_delivered_dc, battery_temp_sum = excluded.battery_temp_sum,
        battery_temp_max = excluded.battery_temp_max, soc_min = excluded.soc_min, soc_max = excluded.soc_max,
        readings = excluded.readings
    RETURNING 1
)
SELECT (SELECT last FROM reached) IS NOT NULL OR (SELECT count(*) FROM single) = :row_limit AS more,
    (SELECT count(*) FROM rolled) AS hours;
