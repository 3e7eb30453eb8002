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
-- All tables of an hour, a day or a month of these partitioned tables, attached or not, oldest first. `pending`: DETACH was started and
-- not finished. `estimated_rows` as of the last ANALYZE.
SELECT parent.relname AS parent, part.relname AS part, period.opens AT TIME ZONE 'UTC' AS opens,
    (period.opens + period.width) AT TIME ZONE 'UTC' AS closes,
    inherits.inhrelid IS NOT NULL AS attached, coalesce(inherits.inhdetachpending, false) AS pending,
    greatest(part.reltuples, 0)::bigint AS estimated_rows
FROM pg_class AS parent
JOIN pg_class AS part ON part.relnamespace = parent.relnamespace AND part.relkind = 'r'
CROSS JOIN LATERAL regexp_match(part.relname, '^' || parent.relname || '_y(\d{4})m(\d{2})(?:d(\d{2})(?:h(\d{2}))?)?$') AS number
CROSS JOIN LATERAL (
    SELECT make_timestamp(number[1]::integer, number[2]::integer, coalesce(number[3], '1')::integer, coalesce(number[4], '0')::integer, 0, 0),
        CASE
            WHEN number[4] IS NOT NULL THEN interval '1 hour'
            WHEN number[3] IS NOT NULL THEN interval '1 day'
            ELSE interval '1 month'
        END
) AS period (opens, width)
LEFT JOIN pg_inherits AS inherits ON inherits.inhrelid = part.oid AND inherits.inhparent = parent.oid
WHERE parent.relkind = 'p' AND parent.relnamespace = current_schema()::regnamespace AND parent.relname = ANY(:parents::text[])
    AND number IS NOT NULL
ORDER BY opens, parent.relname, part.relname;

-- name: narrow_partition(parent, part, opens, closes, unit)^
-- Replaces a detached table by partitions of this unit; `narrowed` is false when it has rows, and is as it was.
SELECT narrow_history_partition(:parent, :part, :opens, :closes, :unit) AS narrowed;
