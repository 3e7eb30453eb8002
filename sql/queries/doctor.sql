-- The queries of `python -m sql doctor`. All are cheap but the ledger's. sql/doctor/ turns their rows into findings.

-- name: check_server()^
SELECT current_database() AS database, pg_is_in_recovery() AS standby, current_setting('server_version') AS version;

-- name: check_build()^
-- The version, the extensions that migrations create and the server does not have, and what it was built without.
SELECT current_setting('server_version_num')::integer / 10000 AS version,
    ARRAY(
        SELECT needed FROM unnest(ARRAY['btree_gist', 'pg_trgm']) AS needed
        WHERE NOT EXISTS (SELECT FROM pg_available_extensions WHERE name = needed)
    ) AS missing_extensions,
    ARRAY(
        SELECT method FROM unnest(ARRAY['lz4', 'zstd']) AS method
        WHERE NOT EXISTS (SELECT FROM pg_settings WHERE name = 'wal_compression' AND method = ANY(enumvals))
    ) AS missing_compression;

-- name: check_fleet_settings()
-- Settings below those of docs/postgresql.md, "Settings for a fleet".
SELECT name, current_setting(name) AS value, wanted
FROM (
    VALUES ('checkpoint_timeout', '15min', current_setting('checkpoint_timeout')::interval < interval '15 min'),
        ('maintenance_work_mem', '256MB', pg_size_bytes(current_setting('maintenance_work_mem')) < pg_size_bytes('256MB')),
        ('max_wal_size', '16GB', pg_size_bytes(current_setting('max_wal_size')) < pg_size_bytes('16GB')),
        ('random_page_cost', '1.1', current_setting('random_page_cost')::double precision > 1.1),
        ('wal_compression', 'on', current_setting('wal_compression') = 'off')
) AS setting (name, wanted, is_below)
WHERE is_below ORDER BY name;

-- name: check_durability()^
SELECT current_setting('fsync') = 'on' AS fsync, current_setting('full_page_writes') = 'on' AS full_page_writes,
    coalesce((SELECT checksum_failures FROM pg_stat_database WHERE datname = current_database()), 0) AS checksum_failures;

-- name: check_inherited_settings()
-- What the database and our logins set for each new session (ALTER DATABASE ... SET, ALTER ROLE ... SET).
SELECT CASE WHEN login.rolname IS NULL THEN 'the database' ELSE 'the login ' || login.rolname END AS origin,
    split_part(setting, '=', 1) AS name, substr(setting, strpos(setting, '=') + 1) AS value
FROM pg_db_role_setting AS stored
CROSS JOIN LATERAL unnest(stored.setconfig) AS setting
LEFT JOIN pg_roles AS login ON login.oid = stored.setrole
WHERE stored.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
    AND (
        stored.setrole = 0 OR login.rolname = current_user
        OR NOT login.rolsuper AND (pg_has_role(login.oid, 'energy_writer', 'member') OR pg_has_role(login.oid, 'energy_reader', 'member'))
    )
ORDER BY 1, 2;

-- name: check_cache()^
-- Index pages found in memory and read from disk since the statistics were last reset.
SELECT coalesce(sum(idx_blks_hit), 0)::bigint AS hit, coalesce(sum(idx_blks_read), 0)::bigint AS read FROM pg_statio_user_indexes;

-- name: check_unused_indexes()
-- Large indexes that no query has used and that enforce no constraint (unique, primary key, exclusion).
SELECT usage.indexrelname AS index_name, pg_relation_size(usage.indexrelid) AS bytes
FROM pg_stat_user_indexes AS usage JOIN pg_index AS index ON index.indexrelid = usage.indexrelid
WHERE usage.idx_scan = 0 AND NOT index.indisunique AND NOT index.indisexclusion AND index.indisvalid
    AND pg_relation_size(usage.indexrelid) > 16 * 1024 * 1024
ORDER BY bytes DESC;

-- name: check_missing_indexes()
-- Large tables that are mostly read by sequential scans.
SELECT relname AS table_name, seq_scan, seq_tup_read / greatest(seq_scan, 1) AS rows_a_scan
FROM pg_stat_user_tables
WHERE seq_scan > 1000 AND seq_scan > coalesce(idx_scan, 0) AND seq_tup_read / seq_scan > 100000
ORDER BY seq_tup_read DESC LIMIT 5;

-- name: check_invalid_indexes()
SELECT indexrelid::regclass::text AS index_name FROM pg_index WHERE NOT indisvalid AND indexrelid >= 16384 ORDER BY 1;

-- name: check_statements_extension()^
-- Whether pg_stat_statements is installed in this database, and loaded by the server.
SELECT to_regclass('pg_stat_statements') IS NOT NULL AS installed,
    current_setting('pg_stat_statements.max', true) IS NOT NULL AS loaded;

-- name: check_slow_statements()
-- Statements with a mean time above a second. Their text holds placeholders instead of arguments.
SELECT left(regexp_replace(query, '\s+', ' ', 'g'), 120) AS statement, calls, mean_exec_time AS milliseconds
FROM pg_stat_statements
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND calls >= 10 AND mean_exec_time > 1000
    AND query !~* '^\s*(copy|analyze|vacuum|reindex|create|alter|select pg_sleep)'
ORDER BY mean_exec_time * calls DESC LIMIT 5;

-- name: check_live_tables()
-- Tables that are updated in place: dead rows, and updates that needed no new index entry (heap-only).
SELECT relname AS table_name, n_live_tup AS live, n_dead_tup AS dead, n_tup_upd AS updates, n_tup_hot_upd AS hot_updates
FROM pg_stat_user_tables
WHERE relname IN ('meter_live_status', 'vehicle_live_status', 'kafka_offsets', 'vehicle_efficiency')
ORDER BY relname;

-- name: check_folding()^
-- Seconds since the end of the newest folded day; NULL: folding has not begun.
SELECT extract(epoch FROM now() - nullif(folded_before, '-infinity'))::double precision AS seconds FROM rollup_state;

-- name: check_replicas()
-- Connected replicas; a base backup in progress is not one.
SELECT application_name AS name, state, extract(epoch FROM replay_lag)::double precision AS seconds,
    pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)::bigint AS bytes
FROM pg_stat_replication WHERE state IS DISTINCT FROM 'backup' ORDER BY 1;

-- name: check_standby()^
-- On a replica: the age of its data; 0 when it has replayed everything it has received.
SELECT CASE WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0
    ELSE extract(epoch FROM now() - pg_last_xact_replay_timestamp())::double precision END AS seconds;

-- name: check_slots()
SELECT slot_name AS name, active, wal_status,
    coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::bigint AS bytes
FROM pg_replication_slots ORDER BY 1;

-- name: check_ledger_sums()
-- Partitions whose counts do not add up, which the table's CHECK constraint prevents as long as it exists.
SELECT consumer_group, topic, partition FROM kafka_offsets
WHERE records_consumed <> records_written + records_duplicate + records_dead_lettered
ORDER BY 1, 2, 3;

-- name: check_connections()^
SELECT count(*) FILTER (WHERE backend_type = 'client backend') AS used,
    count(*) FILTER (WHERE application_name = 'energy-api') AS of_services,
    count(*) FILTER (WHERE application_name = 'energy-consumer') AS of_consumers,
    current_setting('max_connections')::integer
        - current_setting('superuser_reserved_connections')::integer
        - coalesce(current_setting('reserved_connections', true)::integer, 0) AS most
FROM pg_stat_activity;

-- name: check_dead_letters()
SELECT topic, reason, count(*) AS letters FROM dead_letters WHERE resolved_at IS NULL GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2;

-- name: check_breakers()
SELECT topic, state, detail FROM topic_breakers ORDER BY topic;

-- name: check_stalled_partitions()
-- Partitions that are halted, or that have unread records and were last written more than ten minutes ago. Consumers store the end
-- of the log with each batch, and that of a partition that stands still, as long as one holds it.
SELECT consumer_group, topic, partition, end_offset - next_offset AS records,
    extract(epoch FROM now() - updated_at)::double precision AS seconds, halt_reason
FROM kafka_offsets
WHERE halt_reason IS NOT NULL OR (end_offset > next_offset AND updated_at < now() - interval '10 minutes')
ORDER BY 1, 2, 3;

-- name: check_transactions(idle_seconds, busy_seconds)
-- Long transactions, except those of hourly maintenance, which may take hours.
SELECT pid, coalesce(nullif(application_name, ''), 'unnamed') AS name, state,
    extract(epoch FROM now() - xact_start)::double precision AS seconds
FROM pg_stat_activity
WHERE backend_type = 'client backend' AND datname = current_database() AND pid <> pg_backend_pid()
    AND application_name <> 'energy-housekeeping'
    AND xact_start < now() - make_interval(secs =>
        CASE WHEN state LIKE 'idle in transaction%' THEN :idle_seconds::double precision ELSE :busy_seconds::double precision END)
ORDER BY xact_start;

-- name: check_snapshots(transactions)
-- Replicas (hot_standby_feedback) and replication slots whose snapshot is this old, in transactions.
SELECT name, age(xmin) AS transactions FROM (
    SELECT 'replica ' || coalesce(nullif(application_name, ''), 'unnamed') AS name, backend_xmin AS xmin
    FROM pg_stat_activity WHERE backend_type = 'walsender'
    UNION ALL
    SELECT 'slot ' || slot_name, xmin FROM pg_replication_slots
) AS holder
WHERE age(xmin) > :transactions::bigint
ORDER BY 2 DESC, 1;

-- name: check_prepared_transactions()^
SELECT count(*) AS prepared FROM pg_prepared_xacts WHERE prepared < now() - interval '1 minute';

-- name: check_wraparound()^
SELECT age(datfrozenxid) AS transactions, mxid_age(datminmxid) AS multixacts,
    current_setting('autovacuum') = 'on' AS autovacuum,
    current_setting('autovacuum_freeze_max_age')::bigint AS transactions_wanted,
    current_setting('autovacuum_multixact_freeze_max_age')::bigint AS multixacts_wanted
FROM pg_database WHERE datname = current_database();

-- name: check_maintenance()^
-- Seconds since the rollups were last refreshed, which happens in every round of maintenance.
SELECT extract(epoch FROM now() - refreshed_at)::double precision AS seconds FROM rollup_state;

-- name: check_watermark()^
-- How far the rollups' watermark or the last evaluation is ahead of the clock; 0 or less when they are not.
SELECT extract(epoch FROM greatest(
    (SELECT nullif(late_before, '-infinity') FROM rollup_state), (SELECT max(window_end) FROM vehicle_efficiency)
) - now())::double precision AS seconds_ahead;

-- name: check_failed_tasks()
-- Maintenance tasks whose last run failed.
SELECT task, error, extract(epoch FROM now() - succeeded_at)::double precision AS seconds_since_success
FROM maintenance_runs WHERE failed_at > coalesce(succeeded_at, '-infinity') ORDER BY task;

-- name: check_late_hours()^
SELECT count(*) AS marks FROM (SELECT FROM late_hours LIMIT 1000001) AS late;

-- name: check_alert_outbox()^
SELECT count(*) AS waiting, extract(epoch FROM now() - min(created_at))::double precision AS seconds
FROM alert_outbox WHERE published_at IS NULL;

-- name: check_statistics()
-- Large partitioned tables that were never analyzed.
SELECT parent.relname AS table_name
FROM pg_class AS parent
LEFT JOIN pg_stat_user_tables AS stat ON stat.relid = parent.oid
WHERE parent.relkind = 'p' AND parent.relnamespace = current_schema()::regnamespace AND stat.last_analyze IS NULL
    AND EXISTS (
        SELECT FROM pg_inherits AS inherits JOIN pg_class AS part ON part.oid = inherits.inhrelid
        WHERE inherits.inhparent = parent.oid AND part.reltuples > 100000
    )
ORDER BY 1;
