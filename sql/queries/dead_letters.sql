-- name: insert_dead_letters(consumer_group, topics, partitions, offsets, keys, values, timestamps, reasons, details)
-- Inserts dead letters of partitions that this transaction has claimed, and returns those that are new. The others are records of
-- the same incarnation of the log that are read again; they stay as they are, resolved or not.
INSERT INTO dead_letters (consumer_group, topic, partition, "offset", key, value, kafka_timestamp, reason, detail, incarnation)
SELECT :consumer_group, letter.*, claimed.incarnation
FROM unnest(
    :topics::text[], :partitions::integer[], :offsets::bigint[], :keys::bytea[], :values::bytea[],
    :timestamps::timestamptz[], :reasons::text[], :details::text[]
) AS letter (topic, partition, "offset", key, value, kafka_timestamp, reason, detail)
JOIN kafka_offsets AS claimed
    ON claimed.consumer_group = :consumer_group AND (claimed.topic, claimed.partition) = (letter.topic, letter.partition)
ON CONFLICT DO NOTHING
RETURNING topic, partition, "offset";

-- name: resolve_letters(consumer_group, topics, partitions, offsets, incarnation, how)
-- Marks unresolved dead letters of one incarnation as replayed or discarded, and returns them. Missing ones were resolved
-- concurrently.
UPDATE dead_letters AS letter
SET resolved_at = now(), resolution = :how
FROM unnest(:topics::text[], :partitions::integer[], :offsets::bigint[]) AS chosen (topic, partition, "offset")
WHERE letter.consumer_group = :consumer_group
    AND (letter.topic, letter.partition, letter."offset") = (chosen.topic, chosen.partition, chosen."offset")
    AND letter.incarnation = :incarnation
    AND letter.resolved_at IS NULL
RETURNING letter.topic, letter.partition, letter."offset";

-- name: reject_letters(consumer_group, topics, partitions, offsets, incarnation, reasons, details)!
-- Marks dead letters whose replay failed as unresolved again, with the new reason.
UPDATE dead_letters AS letter
SET resolved_at = NULL, resolution = NULL, reason = chosen.reason, detail = chosen.detail
FROM unnest(:topics::text[], :partitions::integer[], :offsets::bigint[], :reasons::text[], :details::text[])
    AS chosen (topic, partition, "offset", reason, detail)
WHERE letter.consumer_group = :consumer_group
    AND (letter.topic, letter.partition, letter."offset") = (chosen.topic, chosen.partition, chosen."offset")
    AND letter.incarnation = :incarnation;

-- name: list_letters(consumer_group, topic, reason, since, before, resolved, row_limit)
-- Dead letters in the order of their rejection; NULL for topic, reason, since or before means any.
SELECT topic, partition, "offset", incarnation, key, value, kafka_timestamp, reason, detail, rejected_at, resolved_at, resolution
FROM dead_letters
WHERE consumer_group = :consumer_group
    AND (:topic::text IS NULL OR topic = :topic)
    AND (:reason::text IS NULL OR reason = :reason)
    AND (:since::timestamptz IS NULL OR rejected_at >= :since)
    AND (:before::timestamptz IS NULL OR rejected_at < :before)
    AND (:resolved OR resolved_at IS NULL)
ORDER BY rejected_at, topic, partition, "offset"
LIMIT :row_limit;

-- name: letters_at(consumer_group, topic, partition, offset)
-- The dead letter at an offset, of each incarnation of the log that has one; that of the newest log first.
SELECT * FROM dead_letters
WHERE consumer_group = :consumer_group AND topic = :topic AND partition = :partition AND "offset" = :offset
ORDER BY incarnation DESC;

-- name: count_letters(consumer_group, topic, reason, since, before)
-- Unresolved dead letters by topic and reason; NULL means any.
SELECT topic, reason, count(*) AS letters, min(rejected_at) AS first_rejected, max(rejected_at) AS last_rejected
FROM dead_letters
WHERE resolved_at IS NULL
    AND (:consumer_group::text IS NULL OR consumer_group = :consumer_group)
    AND (:topic::text IS NULL OR topic = :topic)
    AND (:reason::text IS NULL OR reason = :reason)
    AND (:since::timestamptz IS NULL OR rejected_at >= :since)
    AND (:before::timestamptz IS NULL OR rejected_at < :before)
GROUP BY topic, reason
ORDER BY topic, reason;

-- name: has_expired_records(before)^
-- Whether there are dead letters resolved, or alerts published, before an instant.
SELECT EXISTS (SELECT FROM dead_letters WHERE resolved_at < :before)
    OR EXISTS (SELECT FROM alert_outbox WHERE published_at < :before) AS expired;

-- name: delete_resolved_letters(resolved_before, row_limit)^
-- Deletes dead letters resolved before an instant. The ledger keeps the number of discarded ones, which never became readings.
WITH removed AS (
    DELETE FROM dead_letters
    WHERE resolved_at < :resolved_before AND ctid = ANY(ARRAY(
        SELECT ctid FROM dead_letters WHERE resolved_at < :resolved_before ORDER BY resolved_at LIMIT :row_limit
    ))
    RETURNING topic, resolution
), remembered AS (
    INSERT INTO retired_records (topic, dead_letters)
    SELECT topic, count(*) FROM removed WHERE resolution = 'discarded' GROUP BY topic
    ON CONFLICT (topic) DO UPDATE SET dead_letters = retired_records.dead_letters + excluded.dead_letters
)
SELECT count(*) AS letters FROM removed;
