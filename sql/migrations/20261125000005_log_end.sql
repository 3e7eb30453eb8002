-- migrate:up
-- How far behind: where the log ended when the last batch was written, as its broker said.
ALTER TABLE kafka_offsets ADD COLUMN end_offset bigint;

-- migrate:down
ALTER TABLE kafka_offsets DROP COLUMN end_offset;
