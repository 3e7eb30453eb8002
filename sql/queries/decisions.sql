-- name: all_offsets(consumer_group)
SELECT topic, partition, start_offset, next_offset, records_consumed, records_written, records_duplicate,
    records_dead_lettered, updated_at, halt_reason, halted_at, last_record_hash,
    CASE WHEN last_record_next_offset = next_offset THEN last_record_offset END AS last_record_offset
FROM kafka_offsets WHERE consumer_group = :consumer_group ORDER BY topic, partition;

-- name: move_offset(consumer_group, topic, partition, expected_offset, to_offset, other_log, reason)^
-- Moves the offset of a partition by hand, only if it is still the expected one, ends a halt, and records the decision with its
-- author. With other_log, or halted, the log may not be the one that the stored offset belongs to: the same offsets may hold other
-- records, of another incarnation.
WITH moved AS (
    UPDATE kafka_offsets
    SET next_offset = :to_offset, start_offset = least(start_offset, :to_offset), updated_at = now(),
        incarnation = incarnation + (:other_log OR halt_reason IS NOT NULL)::integer,
        halt_reason = NULL, halted_at = NULL, last_record_offset = :to_offset, last_record_hash = NULL,
        last_record_next_offset = :to_offset
    WHERE consumer_group = :consumer_group AND topic = :topic AND partition = :partition AND next_offset = :expected_offset
    RETURNING consumer_group, topic, partition
)
INSERT INTO offset_decisions (consumer_group, topic, partition, from_offset, to_offset, reason)
SELECT consumer_group, topic, partition, :expected_offset, :to_offset, :reason FROM moved
RETURNING topic;
