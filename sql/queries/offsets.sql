-- name: first_seen(consumer_group, topics, partitions, offsets)!
-- Registers partitions that this group reads for the first time, with the offset it starts at.
INSERT INTO kafka_offsets (consumer_group, topic, partition, start_offset, next_offset)
SELECT :consumer_group, seen.topic, seen.partition, seen.first_offset, seen.first_offset
FROM unnest(:topics::text[], :partitions::integer[], :offsets::bigint[]) AS seen (topic, partition, first_offset)
WHERE NOT EXISTS ( -- ON CONFLICT alone would wait for whoever is writing the row
    SELECT FROM kafka_offsets AS stored
    WHERE stored.consumer_group = :consumer_group AND (stored.topic, stored.partition) = (seen.topic, seen.partition)
)
ON CONFLICT DO NOTHING;

-- name: stored_offsets(consumer_group, topics, partitions)
-- How far the given partitions have been written, once every transaction that claims one of them has ended.
SELECT stored.topic, stored.partition, stored.next_offset
FROM kafka_offsets AS stored
JOIN unnest(:topics::text[], :partitions::integer[]) AS asked (topic, partition) USING (topic, partition)
WHERE stored.consumer_group = :consumer_group
ORDER BY stored.topic, stored.partition
FOR UPDATE OF stored;

-- name: evict_holders(waiting, patience)
-- Ends the sessions of other consumers that the given session waits for, and names them. A consumer that was stopped in the
-- middle of a transaction (SIGSTOP, a frozen machine) would keep its claim for ever: the server's own time-outs do not look at a
-- session that has prepared a statement or is in the middle of a COPY. One that began less than `patience` seconds ago has not been
-- waited for that long.
SELECT holder.pid, holder.client_addr, holder.xact_start, pg_terminate_backend(holder.pid) AS ended
FROM unnest(pg_blocking_pids(:waiting)) AS blocking (pid)
JOIN pg_stat_activity AS holder USING (pid)
WHERE holder.usename = current_user
    AND holder.application_name = current_setting('application_name')
    AND holder.xact_start < clock_timestamp() - make_interval(secs => :patience)
    AND holder.wait_event_type IS DISTINCT FROM 'Lock'; -- one that waits itself is on its way

-- name: claim(consumer_group, topics, partitions, expected_offsets, next_offsets, end_offsets, consumed, dead_lettered)
-- The fence. Moves every partition of a batch on, but only from where this consumer believes it to be. Fewer rows than
-- partitions: somebody else has written meanwhile, and nothing this consumer carries may be written.
-- What is not a dead letter is counted as written; `recount` corrects that where readings turn out to be duplicates.
-- Readings older than late_before change hours that are rolled up already; it stays where it is until this transaction ends.
UPDATE kafka_offsets AS stored
SET next_offset = claimed.next_offset,
    end_offset = claimed.end_offset,
    records_consumed = records_consumed + claimed.consumed,
    records_written = records_written + claimed.consumed - claimed.dead_lettered,
    records_dead_lettered = records_dead_lettered + claimed.dead_lettered,
    updated_at = now()
FROM unnest(
    :topics::text[], :partitions::integer[], :expected_offsets::bigint[], :next_offsets::bigint[], :end_offsets::bigint[],
    :consumed::bigint[], :dead_lettered::bigint[]
) AS claimed (topic, partition, expected_offset, next_offset, end_offset, consumed, dead_lettered)
WHERE stored.consumer_group = :consumer_group
    AND stored.topic = claimed.topic
    AND stored.partition = claimed.partition
    AND stored.next_offset = claimed.expected_offset
RETURNING stored.topic, stored.partition, hold_late_before() AS late_before;

-- name: recount(consumer_group, topics, partitions, duplicates, dead_lettered)!
-- Moves records within the ledger from written to duplicate or to dead-lettered.
UPDATE kafka_offsets AS stored
SET records_written = records_written - found.duplicates - found.dead_lettered,
    records_duplicate = records_duplicate + found.duplicates,
    records_dead_lettered = records_dead_lettered + found.dead_lettered
FROM unnest(:topics::text[], :partitions::integer[], :duplicates::bigint[], :dead_lettered::bigint[])
    AS found (topic, partition, duplicates, dead_lettered)
WHERE stored.consumer_group = :consumer_group
    AND stored.topic = found.topic
    AND stored.partition = found.partition;

-- name: ledger(meter_topic, vehicle_topic, assignment_topic, register_topic)
-- The proof that nothing was dropped: for every topic, over all partitions, what was consumed is what was written, counted as
-- a duplicate or dead-lettered, and that many rows are really there. A letter that was replayed counts as what it became.
-- Months that retention has dropped count with what was in them.
WITH counted AS (
    SELECT topic, sum(records_consumed)::bigint AS consumed, sum(records_written)::bigint AS written,
        sum(records_duplicate)::bigint AS duplicates, sum(records_dead_lettered)::bigint AS dead_lettered
    FROM kafka_offsets
    GROUP BY topic
), stored AS (
    SELECT topic, CASE topic
            WHEN :meter_topic THEN (SELECT count(*) FROM meter_telemetry_history WHERE derived IS NOT TRUE)
            WHEN :vehicle_topic THEN (SELECT count(*) FROM vehicle_telemetry_history)
            WHEN :assignment_topic THEN (SELECT count(*) FROM assignment_declarations WHERE source = 'kafka:' || topic)
            WHEN :register_topic THEN (SELECT count(*) FROM meter_register_history)
        END + CASE topic WHEN :assignment_topic THEN 0 ELSE coalesce((
            SELECT sum(retired.readings - retired.derived)::bigint FROM retired_months AS retired
            WHERE retired.history = CASE topic
                WHEN :meter_topic THEN 'meter_telemetry_history'
                WHEN :vehicle_topic THEN 'vehicle_telemetry_history'
                WHEN :register_topic THEN 'meter_register_history'
            END
        ), 0) END AS rows,
        (
            SELECT count(*) FROM dead_letters AS letter
            WHERE letter.topic = counted.topic AND resolution IS DISTINCT FROM 'replayed'
        ) + coalesce((SELECT retired.dead_letters FROM retired_records AS retired WHERE retired.topic = counted.topic), 0)
            AS letters
    FROM counted
)
SELECT counted.*, stored.rows AS rows_stored, stored.letters AS dead_letters_stored,
    consumed = written + duplicates + dead_lettered AND written = rows AND dead_lettered = letters AS adds_up
FROM counted JOIN stored USING (topic)
ORDER BY topic;
