-- The ledger's entry of readings that came without Kafka: as many are written as are stored, on each of the topics given. Returns the
-- number of all of them.
WITH entered AS (
    INSERT INTO kafka_offsets
        (consumer_group, topic, partition, start_offset, next_offset, records_consumed, records_written)
    SELECT 'simulated-history', topic, 0, 0, 0, stored.readings, stored.readings
    FROM unnest($1::text[]) AS topic
    CROSS JOIN (SELECT sum(readings * cardinality(first_at)) AS readings FROM encoded_days) AS stored
    RETURNING records_written
)
SELECT sum(records_written)::bigint FROM entered;
