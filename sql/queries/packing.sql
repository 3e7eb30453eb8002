-- name: indexes_to_pack(month)
-- Primary keys of attached months before the given one that were not built anew yet, the newest first.
-- Below a megabyte there is nothing to gain.
SELECT key.relname AS index_name, key.oid AS built, pg_relation_size(key.oid) AS bytes, packed.built AS begun_with
FROM pg_inherits AS inherits
JOIN pg_class AS parent ON parent.oid = inherits.inhparent AND parent.relkind = 'p'
    AND parent.relnamespace = current_schema()::regnamespace
JOIN pg_class AS part ON part.oid = inherits.inhrelid AND part.relkind = 'r'
    AND part.relname ~ '^(meter|vehicle)_(telemetry_history|register_history|energy_hourly)_y\d{4}m\d{2}$'
JOIN pg_index AS of_key ON of_key.indrelid = part.oid AND of_key.indisprimary
JOIN pg_class AS key ON key.oid = of_key.indexrelid
LEFT JOIN packed_indexes AS packed ON packed.index_name = key.relname
WHERE packed.packed_at IS NULL AND pg_relation_size(key.oid) >= 1048576
    AND to_date(right(part.relname, 7), 'YYYY"m"MM') < :month::date
ORDER BY right(part.relname, 7) DESC, key.relname;

-- name: leftovers_of_packing()
-- What an interrupted REINDEX CONCURRENTLY has left of our months' indexes.
SELECT leftover.relname AS index_name
FROM pg_index AS of_leftover
JOIN pg_class AS leftover ON leftover.oid = of_leftover.indexrelid AND leftover.relname ~ '_cc(new|old)\d*$'
JOIN pg_class AS part ON part.oid = of_leftover.indrelid AND part.relnamespace = current_schema()::regnamespace
WHERE NOT of_leftover.indisvalid AND part.relname ~ '_y\d{4}m\d{2}$';

-- name: begin_packing(index_name, built, bytes)!
INSERT INTO packed_indexes (index_name, built, bytes_before) VALUES (:index_name, :built, :bytes)
ON CONFLICT (index_name) DO NOTHING;

-- name: end_packing(index_name)^
UPDATE packed_indexes SET bytes_after = pg_relation_size(to_regclass(quote_ident(index_name))), packed_at = now()
WHERE index_name = :index_name
RETURNING bytes_before, bytes_after;
