-- What `python -m sql doctor` asks. Each question is cheap but the ledger's; sql/doctor/server_findings.py judges the answers.

-- name: ask_server()^
SELECT current_database() AS database, pg_is_in_recovery() AS standby, current_setting('server_version') AS version;

-- name: ask_durability()^
SELECT current_setting('fsync') = 'on' AS fsync, current_setting('full_page_writes') = 'on' AS full_page_writes,
    current_setting('synchronous_commit') <> 'off' AS synchronous_commit,
    coalesce((SELECT checksum_failures FROM pg_stat_database WHERE datname = current_database()), 0) AS checksum_failures;

-- name: ask_cache()^
-- How many index pages were found in memory since the statistics were last reset.
SELECT coalesce(sum(idx_blks_hit), 0)::bigint AS hit, coalesce(sum(idx_blks_read), 0)::bigint AS read FROM pg_statio_user_indexes;

-- name: ask_unused_indexes()
-- Indexes that no question has used, and that keep no promise (unique, primary, exclusion), with what they weigh.
SELECT usage.indexrelname AS index_name, pg_relation_size(usage.indexrelid) AS bytes
FROM pg_stat_user_indexes AS usage JOIN pg_index AS index ON index.indexrelid = usage.indexrelid
WHERE usage.idx_scan = 0 AND NOT index.indisunique AND NOT index.indisexclusion AND index.indisvalid
    AND pg_relation_size(usage.indexrelid) > 16 * 1024 * 1024
ORDER BY bytes DESC;

-- name: ask_missing_indexes()
-- Tables that are mostly read from end to end though they are large.
SELECT relname AS table_name, seq_scan, seq_tup_read / greatest(seq_scan, 1) AS rows_a_scan
FROM pg_stat_user_tables
WHERE seq_scan > 1000 AND seq_scan > coalesce(idx_scan, 0) AND seq_tup_read / seq_scan > 100000
ORDER BY seq_tup_read DESC LIMIT 5;

-- name: ask_invalid_indexes()
SELECT indexrelid::regclass::text AS index_name FROM pg_index WHERE NOT indisvalid AND indexrelid >= 16384 ORDER BY 1;

-- name: ask_statements_known()^
-- Whether pg_stat_statements is installed in this database, and loaded by the server.
SELECT to_regclass('pg_stat_statements') IS NOT NULL AS installed,
    current_setting('pg_stat_statements.max', true) IS NOT NULL AS loaded;

-- name: ask_slow_statements()
-- Statements that take long each time; what they are asked with is not in them.
SELECT left(regexp_replace(query, '\s+', ' ', 'g'), 120) AS statement, calls, mean_exec_time AS milliseconds
FROM pg_stat_statements
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND calls >= 10 AND mean_exec_time > 1000
    AND query !~* '^\s*(copy|analyze|vacuum|reindex|create|alter|select pg_sleep)'
ORDER BY mean_exec_time * calls DESC LIMIT 5;

-- name: ask_live_tables()
-- Tables that are updated in place: dead rows, and how many updates needed no new index entry.
SELECT relname AS table_name, n_live_tup AS live, n_dead_tup AS dead, n_tup_upd AS updates, n_tup_hot_upd AS hot_updates
FROM pg_stat_user_tables
WHERE relname IN ('meter_live_status', 'vehicle_live_status', 'kafka_offsets', 'vehicle_efficiency')
ORDER BY relname;

-- name: ask_months()
-- Months of each history and rollup that are ready for readings.
SELECT parent.relname AS parent, to_date(right(part.relname, 7), 'YYYY"m"MM') AS month
FROM pg_inherits AS inherits
JOIN pg_class AS parent ON parent.oid = inherits.inhparent AND parent.relkind = 'p'
    AND parent.relnamespace = current_schema()::regnamespace
JOIN pg_class AS part ON part.oid = inherits.inhrelid AND part.relkind = 'r' AND part.relname ~ '_y\d{4}m\d{2}$'
WHERE NOT inherits.inhdetachpending
ORDER BY 1, 2;

-- name: ask_replicas()
-- Who follows; a copy that is being made is not a replica yet.
SELECT application_name AS name, state, extract(epoch FROM replay_lag)::double precision AS seconds,
    pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)::bigint AS bytes
FROM pg_stat_replication WHERE state IS DISTINCT FROM 'backup' ORDER BY 1;

-- name: ask_standby()^
-- On a replica: how old what it shows is; 0 when it has everything that it was sent.
SELECT CASE WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0
    ELSE extract(epoch FROM now() - pg_last_xact_replay_timestamp())::double precision END AS seconds;

-- name: ask_slots()
SELECT slot_name AS name, active, wal_status,
    coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::bigint AS bytes
FROM pg_replication_slots ORDER BY 1;

-- name: ask_sums()
-- Partitions whose counts do not add up: the table's own CHECK makes that impossible, as long as it is there.
SELECT consumer_group, topic, partition FROM kafka_offsets
WHERE records_consumed <> records_written + records_duplicate + records_dead_lettered
ORDER BY 1, 2, 3;

-- name: ask_connections()^
SELECT count(*) FILTER (WHERE backend_type = 'client backend') AS used,
    count(*) FILTER (WHERE application_name = 'energy-api') AS of_services,
    count(*) FILTER (WHERE application_name = 'energy-consumer') AS of_consumers,
    current_setting('max_connections')::integer
        - current_setting('superuser_reserved_connections')::integer
        - coalesce(current_setting('reserved_connections', true)::integer, 0) AS most
FROM pg_stat_activity;

-- name: ask_letters()
SELECT topic, reason, count(*) AS letters FROM dead_letters WHERE resolved_at IS NULL GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2;

-- name: ask_breakers()
SELECT topic, state, detail FROM topic_breakers ORDER BY topic;

-- name: ask_standing_partitions()
-- Partitions that had more to read when they were last written, and were not written since.
SELECT consumer_group, topic, partition, end_offset - next_offset AS records,
    extract(epoch FROM now() - updated_at)::double precision AS seconds
FROM kafka_offsets WHERE end_offset > next_offset AND updated_at < now() - interval '10 minutes'
ORDER BY 1, 2, 3;

-- name: ask_transactions(idle_seconds, busy_seconds)
-- Transactions that have been under way for long; those of our own housekeeping may take hours.
SELECT pid, coalesce(nullif(application_name, ''), 'unnamed') AS name, state,
    extract(epoch FROM now() - xact_start)::double precision AS seconds
FROM pg_stat_activity
WHERE backend_type = 'client backend' AND datname = current_database() AND pid <> pg_backend_pid()
    AND application_name <> 'energy-housekeeping'
    AND xact_start < now() - make_interval(secs =>
        CASE WHEN state LIKE 'idle in transaction%' THEN :idle_seconds::double precision ELSE :busy_seconds::double precision END)
ORDER BY xact_start;

-- name: ask_prepared()^
SELECT count(*) AS prepared FROM pg_prepared_xacts WHERE prepared < now() - interval '1 minute';

-- name: ask_wraparound()^
SELECT age(datfrozenxid) AS transactions, mxid_age(datminmxid) AS multixacts,
    current_setting('autovacuum') = 'on' AS autovacuum,
    current_setting('autovacuum_freeze_max_age')::bigint AS transactions_wanted,
    current_setting('autovacuum_multixact_freeze_max_age')::bigint AS multixacts_wanted
FROM pg_database WHERE datname = current_database();

-- name: ask_maintenance()^
-- Seconds since the rollups were last refreshed: that happens in every round.
SELECT extract(epoch FROM now() - refreshed_at)::double precision AS seconds FROM rollup_state;

-- name: ask_tasks()
-- Tasks of maintenance whose last attempt failed.
SELECT task, error, extract(epoch FROM now() - succeeded_at)::double precision AS seconds_since_success
FROM maintenance_runs WHERE failed_at > coalesce(succeeded_at, '-infinity') ORDER BY task;

-- name: ask_late_hours()^
SELECT count(*) AS marks FROM (SELECT FROM late_hours LIMIT 1000001) AS late;

-- name: ask_outbox()^
SELECT count(*) AS waiting, extract(epoch FROM now() - min(created_at))::double precision AS seconds
FROM alert_outbox WHERE published_at IS NULL;

-- name: ask_statistics()
-- Partitioned tables that hold rows and were never analysed.
SELECT parent.relname AS table_name
FROM pg_class AS parent
LEFT JOIN pg_stat_user_tables AS stat ON stat.relid = parent.oid
WHERE parent.relkind = 'p' AND parent.relnamespace = current_schema()::regnamespace AND stat.last_analyze IS NULL
    AND EXISTS (
        SELECT FROM pg_inherits AS inherits JOIN pg_class AS part ON part.oid = inherits.inhrelid
        WHERE inherits.inhparent = parent.oid AND part.reltuples > 100000
    )
ORDER BY 1;
