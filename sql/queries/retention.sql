-- name: month_partitions()
-- All monthly tables of histories and rollups, attached or not, oldest first. `pending`: DETACH was started and not finished.
SELECT parent.relname AS parent, part.relname AS part,
    to_date(right(part.relname, 7), 'YYYY"m"MM') AS month,
    inherits.inhrelid IS NOT NULL AS attached, coalesce(inherits.inhdetachpending, false) AS pending
FROM pg_class AS parent
JOIN pg_class AS part ON part.relnamespace = parent.relnamespace AND part.relkind = 'r'
    AND part.relname ~ ('^' || parent.relname || '_y\d{4}m\d{2}$')
LEFT JOIN pg_inherits AS inherits ON inherits.inhrelid = part.oid AND inherits.inhparent = parent.oid
WHERE parent.relkind = 'p' AND parent.relnamespace = current_schema()::regnamespace
    AND parent.relname IN (
        'meter_telemetry_history', 'vehicle_telemetry_history', 'meter_register_history',
        'meter_energy_hourly', 'vehicle_energy_hourly'
    )
ORDER BY month, parent.relname, part.relname;

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
INSERT INTO retired_months (history, month, readings, derived, archived_in)
VALUES (:history, :month, :readings, :derived, :archived_in);

-- name: archive_directories(month)
-- Directories that hold archives of a month that was dropped; they are never written to again.
SELECT DISTINCT archived_in FROM retired_months WHERE month = :month AND archived_in IS NOT NULL;

-- name: delete_late_hours(opens, closes)!
DELETE FROM late_hours WHERE hour >= :opens AND hour < :closes;

-- name: delete_reindex_records(parts)!
DELETE FROM packed_indexes WHERE index_name = ANY(SELECT part || '_pkey' FROM unnest(:parts::text[]) AS part);

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
