-- name: half_built_indexes()
-- What an interrupted CREATE INDEX CONCURRENTLY has left. Not where somebody is building one now, and not what a REINDEX has
-- left: that is packing's.
SELECT half_built.relname AS index_name
FROM pg_index AS of_half_built
JOIN pg_class AS half_built ON half_built.oid = of_half_built.indexrelid AND half_built.relkind = 'i'
    AND half_built.relnamespace = current_schema()::regnamespace AND half_built.relname !~ '_cc(new|old)\d*$'
WHERE NOT of_half_built.indisvalid
    AND pg_has_role(half_built.relowner, 'USAGE')
    AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index AS progress WHERE progress.relid = of_half_built.indrelid);

-- name: oldest_transaction()^
-- Who has been in a transaction for longest in this database: most likely whom a migration waits for.
SELECT
    pid AS oldest_transaction_pid,
    application_name AS oldest_transaction_of,
    extract(epoch FROM clock_timestamp() - xact_start)::integer AS oldest_transaction_seconds
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
ORDER BY xact_start
LIMIT 1;
