-- migrate:up
-- A partition that an operator must decide about, and which log the stored offset belongs to.
ALTER TABLE kafka_offsets
    ADD COLUMN halt_reason text,
    ADD COLUMN halted_at timestamptz,
    ADD COLUMN incarnation integer NOT NULL DEFAULT 0,
    ADD COLUMN last_record_offset bigint,
    ADD COLUMN last_record_hash bytea,
    ADD COLUMN last_record_next_offset bigint;
ALTER TABLE dead_letters ADD COLUMN incarnation integer NOT NULL DEFAULT 0;

COMMENT ON COLUMN kafka_offsets.halt_reason IS 'why the partition is not read; only an operator ends a halt (offsets accept-gap, offsets reset)';
COMMENT ON COLUMN kafka_offsets.incarnation IS 'grows by one when an operator accepts that the log is another one than before';
COMMENT ON COLUMN kafka_offsets.last_record_offset IS 'of the last record taken; where reading began when there is no hash';
COMMENT ON COLUMN kafka_offsets.last_record_hash IS 'of the last record taken: its timestamp, key and value';
COMMENT ON COLUMN kafka_offsets.last_record_next_offset IS 'next_offset as it was stored with the last record: no record lies between them; a previous version of the consumer moves next_offset alone';
COMMENT ON COLUMN dead_letters.incarnation IS 'the incarnation of the log that held the record';

-- Consumers and commands of the previous version do not know halts: their claim of a halted partition changes no row, as when
-- another consumer has moved its offset. The decision of an operator ends the halt in the same statement.
CREATE FUNCTION keep_halted_offset() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER keep_halted_offset BEFORE UPDATE ON kafka_offsets FOR EACH ROW
    WHEN (OLD.halt_reason IS NOT NULL AND NEW.halt_reason IS NOT NULL AND NEW.next_offset <> OLD.next_offset)
    EXECUTE FUNCTION keep_halted_offset();

-- ON CONFLICT DO NOTHING ... RETURNING reads these columns.
GRANT SELECT (consumer_group, topic, partition, "offset", incarnation) ON dead_letters TO energy_writer;
GRANT SELECT (incarnation) ON dead_letters TO energy_reader;

-- migrate:down
REVOKE SELECT (consumer_group, topic, partition, "offset", incarnation) ON dead_letters FROM energy_writer;
ALTER TABLE dead_letters DROP COLUMN incarnation;
DROP TRIGGER keep_halted_offset ON kafka_offsets;
DROP FUNCTION keep_halted_offset();
ALTER TABLE kafka_offsets
    DROP COLUMN halt_reason,
    DROP COLUMN halted_at,
    DROP COLUMN incarnation,
    DROP COLUMN last_record_offset,
    DROP COLUMN last_record_hash,
    DROP COLUMN last_record_next_offset;
