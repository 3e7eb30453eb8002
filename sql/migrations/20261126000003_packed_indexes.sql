-- migrate:up
-- Primary keys of months that are over, built anew once. A month is filled at the end of every device's run, which leaves pages
-- half empty; nothing is added to them any more. `built` is the index before: when another one bears its name, the work was done.
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
