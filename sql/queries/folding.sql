-- name: folding_state()^
-- The watermarks of the levels of history; NULL: folding has not begun. `complete_before` is that of the rollups.
SELECT nullif(folding_before, '-infinity') AS folding_before, nullif(folded_before, '-infinity') AS folded_before,
    nullif(complete_before, '-infinity') AS complete_before
FROM rollup_state;

-- name: begin_folding(instant)!
-- Sets the first watermarks: no reading is older than this instant. The rollups of what is older are therefore complete.
UPDATE rollup_state
SET folding_before = :instant, folded_before = :instant,
    late_before = greatest(late_before, :instant), complete_before = greatest(complete_before, :instant)
WHERE folding_before = '-infinity';

-- name: move_folding_before(instant)!
UPDATE rollup_state SET folding_before = greatest(folding_before, :instant);

-- name: move_folded_before(instant)!
UPDATE rollup_state SET folded_before = greatest(folded_before, :instant);

-- name: delete_late_hours_before(instant)!
-- Folded rows have sums of their own for each hour.
DELETE FROM late_hours WHERE hour < :instant;

-- name: fold_meters(day, after, row_limit)^
-- Folds a day of the next meters, in the order of their ids, after the given one. Returns the number of meters that have readings on
-- that day, the number of these readings, and the last of the meters; NULL: there was none left.
WITH devices AS MATERIALIZED (
    SELECT meter_id FROM meter_live_status WHERE meter_id > :after ORDER BY meter_id LIMIT :row_limit
), folded AS MATERIALIZED (
    SELECT meter_id, fold_meter_day(meter_id, :day) AS readings FROM devices
)
SELECT count(*) FILTER (WHERE readings > 0) AS devices, coalesce(sum(readings), 0)::bigint AS readings, max(meter_id) AS last FROM folded;

-- name: fold_vehicles(day, after, row_limit)^
WITH devices AS MATERIALIZED (
    SELECT vehicle_id FROM vehicle_live_status WHERE vehicle_id > :after ORDER BY vehicle_id LIMIT :row_limit
), folded AS MATERIALIZED (
    SELECT vehicle_id, fold_vehicle_day(vehicle_id, :day) AS readings FROM devices
)
SELECT count(*) FILTER (WHERE readings > 0) AS devices, coalesce(sum(readings), 0)::bigint AS readings, max(vehicle_id) AS last FROM folded;

-- name: fold_registers(day, after, row_limit)^
WITH devices AS MATERIALIZED (
    SELECT meter_id FROM meter_live_status WHERE meter_id > :after ORDER BY meter_id LIMIT :row_limit
), folded AS MATERIALIZED (
    SELECT meter_id, fold_register_day(meter_id, :day) AS readings FROM devices
)
SELECT count(*) FILTER (WHERE readings > 0) AS devices, coalesce(sum(readings), 0)::bigint AS readings, max(meter_id) AS last FROM folded;

-- name: compare_meters(day, after, row_limit)^
-- Counts the readings of a day in the rows and in the folded rows, of all ids after the given one up to that of the next device with a
-- live status. Returns that device; NULL: there was none left, and all greater ids were counted.
WITH reached AS (
    SELECT CASE WHEN count(*) = :row_limit THEN max(meter_id) END AS last
    FROM (SELECT meter_id FROM meter_live_status WHERE meter_id > :after ORDER BY meter_id LIMIT :row_limit) AS device
), bound AS MATERIALIZED (
    SELECT last, coalesce(last, chr(1114111)) COLLATE "C" AS through FROM reached -- no id is greater than that character
)
SELECT last, (
        SELECT count(*) FROM meter_telemetry_history
        WHERE meter_id > :after AND meter_id <= (SELECT through FROM bound)
            AND recorded_at >= :day::date::timestamp AT TIME ZONE 'UTC'
            AND recorded_at < (:day::date + 1)::timestamp AT TIME ZONE 'UTC'
    ) AS readings, (
        SELECT coalesce(sum(readings), 0)::bigint FROM meter_days
        WHERE meter_id > :after AND meter_id <= (SELECT through FROM bound) AND day = :day
    ) AS folded
FROM bound;

-- name: compare_vehicles(day, after, row_limit)^
WITH reached AS (
    SELECT CASE WHEN count(*) = :row_limit THEN max(vehicle_id) END AS last
    FROM (SELECT vehicle_id FROM vehicle_live_status WHERE vehicle_id > :after ORDER BY vehicle_id LIMIT :row_limit) AS device
), bound AS MATERIALIZED (
    SELECT last, coalesce(last, chr(1114111)) COLLATE "C" AS through FROM reached
)
SELECT last, (
        SELECT count(*) FROM vehicle_telemetry_history
        WHERE vehicle_id > :after AND vehicle_id <= (SELECT through FROM bound)
            AND recorded_at >= :day::date::timestamp AT TIME ZONE 'UTC'
            AND recorded_at < (:day::date + 1)::timestamp AT TIME ZONE 'UTC'
    ) AS readings, (
        SELECT coalesce(sum(readings), 0)::bigint FROM vehicle_days
        WHERE vehicle_id > :after AND vehicle_id <= (SELECT through FROM bound) AND day = :day
    ) AS folded
FROM bound;

-- name: compare_registers(day, after, row_limit)^
WITH reached AS (
    SELECT CASE WHEN count(*) = :row_limit THEN max(meter_id) END AS last
    FROM (SELECT meter_id FROM meter_live_status WHERE meter_id > :after ORDER BY meter_id LIMIT :row_limit) AS device
), bound AS MATERIALIZED (
    SELECT last, coalesce(last, chr(1114111)) COLLATE "C" AS through FROM reached
)
SELECT last, (
        SELECT count(*) FROM meter_register_history
        WHERE meter_id > :after AND meter_id <= (SELECT through FROM bound)
            AND recorded_at >= :day::date::timestamp AT TIME ZONE 'UTC'
            AND recorded_at < (:day::date + 1)::timestamp AT TIME ZONE 'UTC'
    ) AS readings, (
        SELECT coalesce(sum(readings), 0)::bigint FROM register_days
        WHERE meter_id > :after AND meter_id <= (SELECT through FROM bound) AND day = :day
    ) AS folded
FROM bound;

-- name: transactions_now()^
-- The transactions of other sessions of this database that are open now.
SELECT coalesce(array_agg(virtualtransaction), '{}') AS transactions
FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'virtualxid' AND granted AND pid <> pg_backend_pid() AND virtualxid = virtualtransaction
    AND datname = current_database() AND backend_type = 'client backend';

-- name: are_open(transactions)^
SELECT EXISTS (
    SELECT FROM pg_locks WHERE locktype = 'virtualxid' AND granted AND virtualxid = ANY(:transactions::text[])
) AS open;

-- name: late_meter_days(since, row_limit)
-- The meters and folded days of the oldest late readings from an instant on.
SELECT meter_id AS device, day FROM (
    SELECT meter_id, (recorded_at AT TIME ZONE 'UTC')::date AS day FROM meter_late_readings
    WHERE recorded_at >= :since AND recorded_at < (SELECT folded_before FROM rollup_state)
    ORDER BY recorded_at LIMIT :row_limit
) AS late
GROUP BY day, meter_id ORDER BY day, meter_id;

-- name: late_vehicle_days(since, row_limit)
SELECT vehicle_id AS device, day FROM (
    SELECT vehicle_id, (recorded_at AT TIME ZONE 'UTC')::date AS day FROM vehicle_late_readings
    WHERE recorded_at >= :since AND recorded_at < (SELECT folded_before FROM rollup_state)
    ORDER BY recorded_at LIMIT :row_limit
) AS late
GROUP BY day, vehicle_id ORDER BY day, vehicle_id;

-- name: late_register_days(since, row_limit)
SELECT meter_id AS device, day FROM (
    SELECT meter_id, (recorded_at AT TIME ZONE 'UTC')::date AS day FROM register_late_readings
    WHERE recorded_at >= :since AND recorded_at < (SELECT folded_before FROM rollup_state)
    ORDER BY recorded_at LIMIT :row_limit
) AS late
GROUP BY day, meter_id ORDER BY day, meter_id;

-- name: merge_meter_day(device, day)^
SELECT fold_meter_day(:device, :day) AS readings;

-- name: merge_vehicle_day(device, day)^
SELECT fold_vehicle_day(:device, :day) AS readings;

-- name: merge_register_day(device, day)^
SELECT fold_register_day(:device, :day) AS readings;
