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
