-- name: measure_database(fold_after_days)^
-- Single numbers. folding_lag_days: NULL until folding has begun. partitions_ahead_seconds: time to the first instant, from the first
-- day that is not folded on, of which a reading has no partition; so gaps count, and one in the past is negative.
-- Without pg_read_all_stats the WAL senders are hidden; the lag is then NULL (unknown), not 0.
SELECT
    pg_database_size(current_database()) AS database_bytes,
    (SELECT count(*) FROM efficiency_faults WHERE closed_at IS NULL) AS faults_open,
    (SELECT coalesce(sum(vehicles), 0)::bigint FROM evaluation_totals) AS vehicles_judged,
    (
        SELECT greatest(0, floor(extract(epoch FROM now() - :fold_after_days::integer * interval '1 day' - folded_before) / 86400))
        FROM rollup_state WHERE folded_before > '-infinity'
    ) AS folding_lag_days,
    (
        -- a base backup is not a replica: its disappearance is no incident
        SELECT count(*) FROM pg_stat_replication
        WHERE application_name IS DISTINCT FROM 'pg_basebackup' AND state IS DISTINCT FROM 'backup'
    ) AS replicas_connected,
    (
        SELECT CASE
            WHEN bool_or(state IS NULL) THEN NULL
            ELSE coalesce(extract(epoch FROM max(replay_lag)), 0)::double precision
        END
        FROM pg_stat_replication
    ) AS replica_lag_seconds,
    (
        SELECT CASE
            WHEN bool_or(state IS NULL) THEN NULL
            ELSE coalesce(max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)), 0)::double precision
        END
        FROM pg_stat_replication
    ) AS replica_lag_bytes,
    (
        SELECT extract(epoch FROM min(coalesce(reaches, needed.since)) - now())::double precision
        FROM (SELECT least(now(), nullif((SELECT folding_before FROM rollup_state), '-infinity')) AS since) AS needed
        CROSS JOIN pg_class AS parent
        CROSS JOIN LATERAL (
            SELECT range_agg(tstzrange(
                substring(bound FROM $bound$FROM \('([^']+)'\)$bound$)::timestamptz,
                substring(bound FROM $bound$TO \('([^']+)'\)$bound$)::timestamptz
            )) AS periods
            FROM pg_inherits AS inherits
            JOIN pg_class AS part ON part.oid = inherits.inhrelid
            CROSS JOIN pg_get_expr(part.relpartbound, part.oid) AS bound
            WHERE inherits.inhparent = parent.oid AND NOT inherits.inhdetachpending
        ) AS present
        LEFT JOIN LATERAL (SELECT upper(period) AS reaches FROM unnest(periods) AS period WHERE period @> needed.since) AS whole ON true
        WHERE parent.relkind = 'p' AND parent.relnamespace = 'public'::regnamespace
    ) AS partitions_ahead_seconds;

-- name: measure_snapshots()^
-- The oldest snapshot: row versions that it might see cannot be removed, so every claim reads all versions of its row since then.
-- A transaction without a snapshot holds nothing back. Replicas (hot_standby_feedback) and slots have an age in transactions only.
SELECT coalesce((
        SELECT extract(epoch FROM max(clock_timestamp() - xact_start))::double precision
        FROM pg_stat_activity
        WHERE backend_xmin IS NOT NULL AND backend_type = 'client backend' AND pid <> pg_backend_pid()
    ), 0) AS oldest_snapshot_seconds,
    coalesce((
        SELECT max(age(xmin)) FROM (
            SELECT backend_xmin AS xmin FROM pg_stat_activity WHERE backend_type IN ('client backend', 'walsender')
            UNION ALL SELECT xmin FROM pg_replication_slots
            UNION ALL SELECT transaction FROM pg_prepared_xacts
        ) AS holders
    ), 0) AS oldest_snapshot_transactions;

-- name: measure_ledger()
-- Mismatch of the ledger by topic, as far as it can be computed quickly: records consumed but neither written, duplicate nor
-- dead-lettered, and dead letters that are missing (or too many). The query `ledger` compares with every row of history.
WITH counted AS (
    SELECT topic, sum(records_dead_lettered)::bigint AS dead_lettered,
        sum(records_consumed - records_written - records_duplicate - records_dead_lettered)::bigint AS unaccounted
    FROM kafka_offsets
    GROUP BY topic
), stored AS ( -- each part has an index of its own
    SELECT topic, sum(letters)::bigint AS letters FROM (
        SELECT topic, count(*) AS letters FROM dead_letters WHERE resolved_at IS NULL GROUP BY topic
        UNION ALL
        SELECT topic, count(*) FROM dead_letters WHERE resolved_at IS NOT NULL AND resolution <> 'replayed' GROUP BY topic
        UNION ALL
        SELECT topic, dead_letters FROM retired_records
    ) AS part
    GROUP BY topic
)
SELECT counted.topic, abs(counted.unaccounted) + abs(counted.dead_lettered - coalesce(stored.letters, 0)) AS mismatch
FROM counted LEFT JOIN stored USING (topic)
ORDER BY counted.topic;

-- name: measure_tables()
-- Size of every table with its indexes; partitions are included in their parent table. The size of a table that is dropped meanwhile
-- is NULL.
SELECT relname AS "table", (
        SELECT coalesce(sum(pg_total_relation_size(tree.relid)), 0)::bigint FROM pg_partition_tree(class.oid) AS tree
    ) + CASE relkind WHEN 'r' THEN coalesce(pg_total_relation_size(class.oid), 0) ELSE 0 END AS bytes
FROM pg_class AS class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
ORDER BY relname;
