-- migrate:up
-- Reindexed primary keys of monthly partitions. A month grows at the end of every device's run, which leaves index pages half empty.
-- `built` is the OID of the index before: when the index of that name has another OID, the reindex had succeeded.
CREATE TABLE packed_indexes (
    index_name text PRIMARY KEY,
    built oid NOT NULL,
    bytes_before bigint NOT NULL,
    begun_at timestamptz NOT NULL DEFAULT now(),
    bytes_after bigint,
    packed_at timestamptz,
    CHECK ((bytes_after IS NULL) = (packed_at IS NULL))
);

-- migrate:down
DROP TABLE packed_indexes;
