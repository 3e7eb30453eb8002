-- name: ensure_partitions(oldest, newest)
-- Creates the partitions that are missing between two instants, and those of late readings and of days to be folded that are older;
-- returns their names.
SELECT ensure_history_partitions(
    least(:oldest::timestamptz, (SELECT min(recorded_at) FROM meter_late_readings),
          (SELECT min(recorded_at) FROM vehicle_late_readings), (SELECT min(recorded_at) FROM register_late_readings),
          (SELECT nullif(folded_before, '-infinity') FROM rollup_state)),
    :newest::timestamptz
) AS partition;

-- name: list_partitions(parents)
-- All tables of a day or a month of these partitioned tables, attached or not, oldest first. `pending`: DETACH was started and not
-- finished.
SELECT parent.relname AS parent, part.relname AS part, period.opens AT TIME ZONE 'UTC' AS opens,
    (period.opens + CASE WHEN period.month IS NULL THEN interval '1 day' ELSE interval '1 month' END) AT TIME ZONE 'UTC' AS closes,
    inherits.inhrelid IS NOT NULL AS attached, coalesce(inherits.inhdetachpending, false) AS pending
FROM pg_class AS parent
JOIN pg_class AS part ON part.relnamespace = parent.relnamespace AND part.relkind = 'r'
    AND part.relname ~ ('^' || parent.relname || '_y\d{4}m\d{2}(d\d{2})?$')
CROSS JOIN LATERAL (
    SELECT substring(part.relname FROM '_y(\d{4}m\d{2})$') AS month, substring(part.relname FROM '_y(\d{4}m\d{2}d\d{2})$') AS day
) AS named
CROSS JOIN LATERAL (
    SELECT named.month, coalesce(to_date(named.month, 'YYYY"m"MM'), to_date(named.day, 'YYYY"m"MM"d"DD'))::timestamp AS opens
) AS period
LEFT JOIN pg_inherits AS inherits ON inherits.inhrelid = part.oid AND inherits.inhparent = parent.oid
WHERE parent.relkind = 'p' AND parent.relnamespace = current_schema()::regnamespace AND parent.relname = ANY(:parents::text[])
ORDER BY opens, parent.relname, part.relname;
