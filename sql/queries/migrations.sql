-- name: lock_migrations()^
-- Held until the session ends. It does not wait: a statement that waits has a snapshot, which CREATE INDEX CONCURRENTLY of the
-- run that holds the lock would wait for in turn.
SELECT pg_try_advisory_lock(hashtext('energy.migrate')) AS acquired;

-- name: invalid_indexes()
-- Invalid indexes left by an interrupted CREATE INDEX CONCURRENTLY. Excludes tables on which an index is being built now, and
-- leftovers of REINDEX, which maintenance drops.
SELECT half_built.relname AS index_name
FROM pg_index AS of_half_built
JOIN pg_class AS half_built ON half_built.oid = of_half_built.indexrelid AND half_built.relkind = 'i'
    AND half_built.relnamespace = current_schema()::regnamespace AND half_built.relname !~ '_cc(new|old)\d*$'
WHERE NOT of_half_built.indisvalid
    AND pg_has_role(half_built.relowner, 'USAGE')
    AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index AS progress WHERE progress.relid = of_half_built.indrelid);

-- name: oldest_transaction()^
-- The oldest transaction in this database, which most likely holds the lock that a migration waits for.
SELECT
    pid AS oldest_transaction_pid,
    application_name AS oldest_transaction_of,
    extract(epoch FROM clock_timestamp() - xact_start)::integer AS oldest_transaction_seconds
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
ORDER BY xact_start
LIMIT 1;
