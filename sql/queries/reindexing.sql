-- name: indexes_to_reindex(now, grace, min_bytes, max_bytes, growth)
-- Primary keys of attached months that are due for a rebuild, newest month first: those of finished months that were not rebuilt
-- since (from a megabyte on); those of history with min_bytes to max_bytes that are `growth` times as large as after their last
-- rebuild; and those whose rebuild was interrupted.
SELECT key.relname AS index_name, key.oid AS built, size.bytes,
    CASE WHEN packed.packed_at IS NULL THEN packed.built END AS started_with
FROM pg_inherits AS inherits
JOIN pg_class AS parent ON parent.oid = inherits.inhparent AND parent.relkind = 'p'
    AND parent.relnamespace = current_schema()::regnamespace
JOIN pg_class AS part ON part.oid = inherits.inhrelid AND part.relkind = 'r'
    AND part.relname ~ '^(meter|vehicle)_(telemetry_history|register_history|energy_hourly)_y\d{4}m\d{2}$'
JOIN pg_index AS of_key ON of_key.indrelid = part.oid AND of_key.indisprimary
JOIN pg_class AS key ON key.oid = of_key.indexrelid
CROSS JOIN LATERAL (SELECT pg_relation_size(key.oid) AS bytes) AS size
CROSS JOIN LATERAL (
    SELECT (to_date(right(part.relname, 7), 'YYYY"m"MM') + interval '1 month') AT TIME ZONE 'UTC' + :grace::interval AS over_at
) AS month
LEFT JOIN packed_indexes AS packed ON packed.index_name = key.relname
WHERE over_at <= :now AND size.bytes >= 1048576 AND coalesce(packed.packed_at < over_at OR packed.packed_at > :now, true)
    OR packed.built IS NOT NULL AND packed.packed_at IS NULL AND (size.bytes <= :max_bytes OR packed.built <> key.oid)
    OR part.relname ~ '_history_' AND size.bytes <= :max_bytes
        AND size.bytes >= greatest(:min_bytes, :growth::double precision * packed.bytes_after)
ORDER BY right(part.relname, 7) DESC, key.relname;

-- name: reindex_leftovers()
-- Invalid indexes of monthly partitions left by an interrupted REINDEX CONCURRENTLY.
SELECT leftover.relname AS index_name
FROM pg_index AS of_leftover
JOIN pg_class AS leftover ON leftover.oid = of_leftover.indexrelid AND leftover.relname ~ '_cc(new|old)\d*$'
JOIN pg_class AS part ON part.oid = of_leftover.indrelid AND part.relnamespace = current_schema()::regnamespace
WHERE NOT of_leftover.indisvalid AND part.relname ~ '_y\d{4}m\d{2}$';

-- name: start_reindex(index_name, built, bytes, now)!
INSERT INTO packed_indexes (index_name, built, bytes_before, begun_at) VALUES (:index_name, :built, :bytes, :now)
ON CONFLICT (index_name) DO UPDATE
SET built = excluded.built, bytes_before = excluded.bytes_before, begun_at = excluded.begun_at, bytes_after = NULL, packed_at = NULL;

-- name: finish_reindex(index_name)^
-- Records the time of the start: rows added since then may be in half-empty pages again.
UPDATE packed_indexes SET bytes_after = pg_relation_size(to_regclass(quote_ident(index_name))), packed_at = begun_at
WHERE index_name = :index_name
RETURNING bytes_before, bytes_after;
