-- name: database_identity()^
-- Identifies this database wherever it runs; an archive belongs to one database.
SELECT system_identifier::text || '/' || current_database() AS identity,
    current_setting('server_version_num')::integer / 10000 AS server
FROM pg_control_system();

-- name: history_columns(history)
-- The columns of a history in order, with the short names of their types.
SELECT attribute.attname AS name, type.typname AS kind
FROM pg_attribute AS attribute JOIN pg_type AS type ON type.oid = attribute.atttypid
WHERE attribute.attrelid = :history::text::regclass AND attribute.attnum > 0 AND NOT attribute.attisdropped
ORDER BY attribute.attnum;

-- name: insert_retired_month(history, month, readings, derived, archived_in)!
-- A month that gets readings again is dropped again: the time of each row is its own, and not that of the transaction.
INSERT INTO retired_months (history, month, readings, derived, archived_in, retired_at)
VALUES (:history, :month, :readings, :derived, :archived_in, clock_timestamp());

-- name: archive_directories(month)
-- Directories that hold archives of a month that was dropped; they are never written to again.
SELECT DISTINCT archived_in FROM retired_months WHERE month = :month AND archived_in IS NOT NULL;

-- name: lock_merging()^
-- Waits for all writers of late readings, and blocks new ones until this transaction ends.
SELECT pg_advisory_xact_lock(hashtext('energy.merging'))::text AS waited;

-- name: late_readings_of(opens, closes)^
-- Number and hash of the late readings of a period.
SELECT concat_ws(' ',
    (SELECT concat(count(*), ' ', sum(hash_record_extended(late, 0)))
     FROM meter_late_readings AS late WHERE recorded_at >= :opens AND recorded_at < :closes),
    (SELECT concat(count(*), ' ', sum(hash_record_extended(late, 0)))
     FROM vehicle_late_readings AS late WHERE recorded_at >= :opens AND recorded_at < :closes),
    (SELECT concat(count(*), ' ', sum(hash_record_extended(late, 0)))
     FROM register_late_readings AS late WHERE recorded_at >= :opens AND recorded_at < :closes)
) AS fingerprint;

-- name: delete_late_readings(opens, closes)!
WITH of_vehicles AS (
    DELETE FROM vehicle_late_readings WHERE recorded_at >= :opens AND recorded_at < :closes
), registers AS (
    DELETE FROM register_late_readings WHERE recorded_at >= :opens AND recorded_at < :closes
)
DELETE FROM meter_late_readings WHERE recorded_at >= :opens AND recorded_at < :closes;

-- name: try_lock_housekeeping()^
-- Whether this session may run the hourly maintenance tasks; the lock is held until the session ends.
SELECT pg_try_advisory_lock(hashtext('energy.housekeeping')) AS acquired;

-- name: record_success(task)^
-- Returns the time as Unix time.
INSERT INTO maintenance_runs (task, succeeded_at) VALUES (:task, now())
ON CONFLICT (task) DO UPDATE SET succeeded_at = now()
RETURNING extract(epoch FROM succeeded_at)::double precision AS at;

-- name: last_successes(tasks)
-- The last success of each of these tasks as Unix time; 0: never.
SELECT named.task, coalesce(extract(epoch FROM run.succeeded_at), 0)::double precision AS at
FROM unnest(:tasks::text[]) AS named (task)
LEFT JOIN maintenance_runs AS run ON run.task = named.task;

-- name: record_failure(task, error)!
INSERT INTO maintenance_runs (task, failed_at, error) VALUES (:task, now(), :error)
ON CONFLICT (task) DO UPDATE SET failed_at = now(), error = excluded.error;

-- name: primary_key_columns(history)
-- The columns of a history's primary key, in order.
SELECT attribute.attname AS name
FROM pg_index AS key
CROSS JOIN LATERAL unnest(key.indkey::smallint[]) WITH ORDINALITY AS part (number, position)
JOIN pg_attribute AS attribute ON attribute.attrelid = key.indrelid AND attribute.attnum = part.number
WHERE key.indrelid = :history::text::regclass AND key.indisprimary
ORDER BY part.position;
