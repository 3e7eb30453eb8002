-- migrate:up
-- The end of the partition's log when the last batch was written, as reported by the broker; gives the lag in records.
ALTER TABLE kafka_offsets ADD COLUMN end_offset bigint;

-- migrate:down
ALTER TABLE kafka_offsets DROP COLUMN end_offset;
