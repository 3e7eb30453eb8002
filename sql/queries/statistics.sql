-- name: statistics_due(before)
-- Partitioned tables last analyzed before the given instant or never, and those whose row count has changed by a fifth since they were.
WITH parts AS (
    SELECT inherits.inhparent AS parent, sum(greatest(part.reltuples, 0)) AS rows
    FROM pg_inherits AS inherits JOIN pg_class AS part ON part.oid = inherits.inhrelid
    GROUP BY inherits.inhparent
)
SELECT parent.relname AS parent
FROM pg_class AS parent
JOIN parts ON parts.parent = parent.oid
LEFT JOIN pg_stat_user_tables AS stat ON stat.relid = parent.oid
WHERE parent.relkind = 'p' AND parent.relnamespace = current_schema()::regnamespace
    AND (
        stat.last_analyze IS NULL OR stat.last_analyze < :before OR stat.last_analyze > now()
        OR abs(parts.rows - greatest(parent.reltuples, 0)) > greatest(parent.reltuples, 0) / 5 + 1000
    )
ORDER BY parent.relname;
