-- migrate:up
-- Offsets and ledger: up to which offset each partition has been written, and the outcome of its records. The row is updated in
-- the transaction that writes the readings, so it is never ahead of them nor behind.
CREATE TABLE kafka_offsets (
    consumer_group text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL CHECK (partition >= 0),
    start_offset bigint NOT NULL,
    next_offset bigint NOT NULL CHECK (next_offset >= start_offset),
    records_consumed bigint NOT NULL DEFAULT 0,
    records_written bigint NOT NULL DEFAULT 0 CHECK (records_written >= 0),
    records_duplicate bigint NOT NULL DEFAULT 0 CHECK (records_duplicate >= 0),
    records_dead_lettered bigint NOT NULL DEFAULT 0 CHECK (records_dead_lettered >= 0),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer_group, topic, partition),
    CONSTRAINT kafka_offsets_add_up
        CHECK (records_consumed = records_written + records_duplicate + records_dead_lettered)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);

COMMENT ON COLUMN kafka_offsets.start_offset IS 'the first offset this group ever read of the partition';
COMMENT ON COLUMN kafka_offsets.next_offset IS 'the first offset not yet written; consumers resume here, whatever Kafka has stored';

-- Records that were rejected: the complete record with the reason.
CREATE TABLE dead_letters (
    consumer_group text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    key bytea,
    value bytea,
    kafka_timestamp timestamptz,
    reason text NOT NULL,
    detail text NOT NULL,
    rejected_at timestamptz NOT NULL DEFAULT now(),
    resolved_at timestamptz,
    PRIMARY KEY (consumer_group, topic, partition, "offset")
);

GRANT SELECT, INSERT, UPDATE ON kafka_offsets TO energy_writer;
GRANT INSERT ON dead_letters TO energy_writer;
GRANT SELECT ON kafka_offsets TO energy_reader;

-- migrate:down
DROP TABLE dead_letters, kafka_offsets;
