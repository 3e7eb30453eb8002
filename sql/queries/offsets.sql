-- name: insert_missing_offsets(consumer_group, topics, partitions, offsets)!
-- Inserts partitions that this group consumes for the first time, with their starting offset.
INSERT INTO kafka_offsets
    (consumer_group, topic, partition, start_offset, next_offset, last_record_offset, last_record_next_offset)
SELECT :consumer_group, seen.topic, seen.partition, seen.first_offset, seen.first_offset, seen.first_offset, seen.first_offset
FROM unnest(:topics::text[], :partitions::integer[], :offsets::bigint[]) AS seen (topic, partition, first_offset)
WHERE NOT EXISTS ( -- ON CONFLICT alone would wait for a transaction that is writing the row
    SELECT FROM kafka_offsets AS stored
    WHERE stored.consumer_group = :consumer_group AND (stored.topic, stored.partition) = (seen.topic, seen.partition)
)
ON CONFLICT DO NOTHING;

-- name: stored_offsets(consumer_group, topics, partitions)
-- The stored offsets of the given partitions, with the last record taken, where it is known. Waits until no transaction holds a
-- claim on any of them.
SELECT stored.topic, stored.partition, stored.next_offset, stored.halt_reason, stored.last_record_hash,
    CASE WHEN stored.last_record_next_offset = stored.next_offset THEN stored.last_record_offset END AS last_record_offset
FROM kafka_offsets AS stored
JOIN unnest(:topics::text[], :partitions::integer[]) AS requested (topic, partition) USING (topic, partition)
WHERE stored.consumer_group = :consumer_group
ORDER BY stored.topic, stored.partition
FOR UPDATE OF stored;

-- name: watch_offsets(consumer_group, topics, partitions)
-- The same without waiting: as of the last commit.
SELECT stored.topic, stored.partition, stored.next_offset, stored.halt_reason, stored.last_record_hash,
    CASE WHEN stored.last_record_next_offset = stored.next_offset THEN stored.last_record_offset END AS last_record_offset
FROM kafka_offsets AS stored
JOIN unnest(:topics::text[], :partitions::integer[]) AS requested (topic, partition) USING (topic, partition)
WHERE stored.consumer_group = :consumer_group;

-- name: store_log_ends(consumer_group, topics, partitions, next_offsets, end_offsets)!
-- Stores where the logs of partitions end that no batch moves. Skips a partition that has moved since, or that is being claimed.
UPDATE kafka_offsets AS stored
SET end_offset = standing.end_offset
FROM (
    SELECT topic, partition, seen.end_offset
    FROM kafka_offsets
    JOIN unnest(:topics::text[], :partitions::integer[], :next_offsets::bigint[], :end_offsets::bigint[])
        AS seen (topic, partition, next_offset, end_offset) USING (topic, partition, next_offset)
    WHERE consumer_group = :consumer_group AND kafka_offsets.end_offset IS DISTINCT FROM seen.end_offset
    FOR UPDATE OF kafka_offsets SKIP LOCKED
) AS standing
WHERE stored.consumer_group = :consumer_group
    AND (stored.topic, stored.partition) = (standing.topic, standing.partition);

-- name: halt(consumer_group, topic, partition, expected_offset, reason)^
-- Halts a partition whose stored offset is still the expected one, until an operator decides (`move_offset`).
UPDATE kafka_offsets
SET halt_reason = :reason, halted_at = now()
WHERE consumer_group = :consumer_group AND topic = :topic AND partition = :partition AND next_offset = :expected_offset
    AND halt_reason IS NULL
RETURNING halt_reason;

-- name: evict_holders(waiting, patience, seen)
-- The sessions of other consumers that block the given session; those that were `seen` before are terminated. A consumer that
-- stopped in the middle of a transaction (SIGSTOP, a frozen machine) would hold its claim forever: the server's timeouts do not
-- apply to a session that has prepared a statement or is in the middle of a COPY. Transactions younger than `patience` seconds are
-- spared, and so is at first one that has just got a lock which it had waited for.
SELECT
    holder.pid, holder.client_addr, holder.xact_start,
    CASE WHEN holder.pid = ANY(:seen::integer[]) THEN pg_terminate_backend(holder.pid) END AS ended
FROM unnest(pg_blocking_pids(:waiting)) AS blocking (pid)
JOIN pg_stat_activity AS holder USING (pid)
WHERE holder.usename = current_user
    AND holder.application_name = current_setting('application_name')
    AND holder.xact_start < clock_timestamp() - make_interval(secs => :patience)
    AND holder.wait_event_type IS DISTINCT FROM 'Lock'; -- a session that waits for a lock itself is still alive

-- name: claim(consumer_group, topics, partitions, expected_offsets, next_offsets, end_offsets, consumed, dead_lettered, last_offsets, last_hashes)
-- The fence. Advances the offset of every partition of a batch, only if it is still the expected one and the partition is not
-- halted. Fewer rows than partitions mean that another consumer has written meanwhile, and the whole batch must be abandoned.
-- Records that are not dead letters are counted as written; `recount` corrects that for duplicates found later.
-- Readings older than late_before belong to hours that are already rolled up. It cannot move until this transaction ends.
UPDATE kafka_offsets AS stored
SET next_offset = claimed.next_offset,
    end_offset = claimed.end_offset,
    records_consumed = records_consumed + claimed.consumed,
    records_written = records_written + claimed.consumed - claimed.dead_lettered,
    records_dead_lettered = records_dead_lettered + claimed.dead_lettered,
    last_record_offset = coalesce(claimed.last_offset, last_record_offset),
    last_record_hash = coalesce(claimed.last_hash, last_record_hash),
    last_record_next_offset = CASE
        WHEN claimed.last_offset IS NOT NULL OR last_record_next_offset = stored.next_offset THEN claimed.next_offset
    END,
    updated_at = now()
FROM unnest(
    :topics::text[], :partitions::integer[], :expected_offsets::bigint[], :next_offsets::bigint[], :end_offsets::bigint[],
    :consumed::bigint[], :dead_lettered::bigint[], :last_offsets::bigint[], :last_hashes::bytea[]
) AS claimed (topic, partition, expected_offset, next_offset, end_offset, consumed, dead_lettered, last_offset, last_hash)
WHERE stored.consumer_group = :consumer_group
    AND stored.topic = claimed.topic
    AND stored.partition = claimed.partition
    AND stored.next_offset = claimed.expected_offset
    AND stored.halt_reason IS NULL
RETURNING stored.topic, stored.partition, hold_watermarks() AS watermarks;

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

-- name: ledger(meter_topics, vehicle_topics, assignment_topics, register_topics)
-- Proves that no record was lost. Per topic: consumed = written + duplicates + dead-lettered, and all topics of a type have written as
-- many readings as are stored: in rows, folded days and late readings, without other versions of stored ones. A replayed dead letter
-- counts as what it became. Months dropped by retention count with the readings they held, and devices that were moved to or from
-- another cell with theirs.
WITH counted AS (
    SELECT topic, CASE
            WHEN topic = ANY(:meter_topics::text[]) THEN 'meter'
            WHEN topic = ANY(:vehicle_topics::text[]) THEN 'vehicle'
            WHEN topic = ANY(:register_topics::text[]) THEN 'register'
            WHEN topic = ANY(:assignment_topics::text[]) THEN 'kafka:' || topic
        END AS written_to,
        sum(records_consumed)::bigint AS consumed, sum(records_written)::bigint AS written,
        sum(records_duplicate)::bigint AS duplicates, sum(records_dead_lettered)::bigint AS dead_lettered
    FROM kafka_offsets
    GROUP BY topic
), stored AS (
    SELECT topic, CASE
            WHEN written_to = 'meter' THEN (
                SELECT count(*) FROM meter_telemetry_history WHERE derived IS NOT TRUE AND recorded_at >= folded_before
            ) + (
                SELECT coalesce(sum(readings - cardinality(array_positions(coalesce(derived, '{}'), true))), 0) FROM meter_days
                WHERE day < utc_day(folded_before)
            ) + (SELECT count(*) FROM meter_late_readings WHERE derived IS NOT TRUE AND NOT replaces)
            WHEN written_to = 'vehicle' THEN (
                SELECT count(*) FROM vehicle_telemetry_history WHERE recorded_at >= folded_before
            ) + (
                SELECT coalesce(sum(readings), 0) FROM vehicle_days WHERE day < utc_day(folded_before)
            ) + (SELECT count(*) FROM vehicle_late_readings)
            WHEN written_to = 'register' THEN (
                SELECT count(*) FROM meter_register_history WHERE recorded_at >= folded_before
            ) + (
                SELECT coalesce(sum(readings), 0) FROM register_days WHERE day < utc_day(folded_before)
            ) + (SELECT count(*) FROM register_late_readings WHERE NOT replaces)
            WHEN written_to IS NOT NULL THEN (SELECT count(*) FROM assignment_declarations WHERE source = written_to)
        END + coalesce((
            SELECT sum(retired.readings - retired.derived)::bigint FROM retired_months AS retired
            WHERE retired.history = CASE written_to
                WHEN 'meter' THEN 'meter_telemetry_history'
                WHEN 'vehicle' THEN 'vehicle_telemetry_history'
                WHEN 'register' THEN 'meter_register_history'
            END
        ), 0) - coalesce((
            SELECT sum(moved.readings)::bigint FROM moved_readings AS moved
            WHERE moved.history = CASE written_to
                WHEN 'meter' THEN 'meter_telemetry_history'
                WHEN 'vehicle' THEN 'vehicle_telemetry_history'
                WHEN 'register' THEN 'meter_register_history'
            END
        ), 0) AS rows,
        (
            SELECT count(*) FROM dead_letters AS letter
            WHERE letter.topic = counted.topic AND resolution IS DISTINCT FROM 'replayed'
        ) + coalesce((SELECT retired.dead_letters FROM retired_records AS retired WHERE retired.topic = counted.topic), 0)
            AS letters
    FROM counted CROSS JOIN rollup_state
)
SELECT counted.*, stored.rows AS rows_stored, stored.letters AS dead_letters_stored,
    consumed = written + duplicates + dead_lettered
        AND sum(written) OVER (PARTITION BY written_to) = rows AND dead_lettered = letters AS adds_up
FROM counted JOIN stored USING (topic)
ORDER BY topic;

-- name: time_of_day()^
-- The database's clock, in seconds since 1970.
SELECT extract(epoch FROM clock_timestamp())::double precision AS seconds;
