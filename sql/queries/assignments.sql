-- name: upsert_assignments(vehicle_ids, meter_ids, starts, ends, origin)!
-- Writes assignments; a stored one with the same vehicle, meter and beginning gets the new end.
-- Raises exclusion_violation (23P01) when a vehicle or a meter would be assigned twice at the same time.
WITH given AS (
    SELECT vehicle_id, meter_id, tstzrange(valid_from, valid_to, '[)') AS valid_during
    FROM unnest(:vehicle_ids::text[], :meter_ids::text[], :starts::timestamptz[], :ends::timestamptz[])
        AS line (vehicle_id, meter_id, valid_from, valid_to)
), moved AS (
    UPDATE vehicle_meter_assignments AS assignment
    SET valid_during = given.valid_during, source = :origin, superseded = false
    FROM given
    WHERE assignment.vehicle_id = given.vehicle_id
        AND assignment.meter_id = given.meter_id
        AND lower(assignment.valid_during) = lower(given.valid_during)
    RETURNING given.*
)
INSERT INTO vehicle_meter_assignments (vehicle_id, meter_id, valid_during, source)
SELECT vehicle_id, meter_id, valid_during, :origin
FROM (SELECT * FROM given EXCEPT SELECT * FROM moved) AS new;

-- name: lock_assignments()^
-- Blocks other writers of assignments until this transaction ends.
SELECT pg_advisory_xact_lock(hashtext('energy.assignments'))::text AS held;

-- name: declare_assignments(vehicle_ids, meter_ids, starts, ends, origin)
-- Declares assignments in the order given. Returns the outcome of each: written, duplicate or overlap (with a detail).
SELECT outcome, detail
FROM declare_assignments(:vehicle_ids::text[], :meter_ids::text[], :starts::timestamptz[], :ends::timestamptz[], :origin)
ORDER BY position;

-- name: advance_assignments(consumer_group, topic, partitions, offsets, vehicle_ids, starts, incarnation)
-- Remembers the given records of the assignment topic, and returns for each, in the order given, whether it may still decide
-- about its assignment: no record at its position or behind it in the partition has. `incarnation` is that of replayed dead letters,
-- which were read before and so may have the position itself; NULL for records of the log that is being read.
WITH given AS (
    SELECT record.*, coalesce(:incarnation::integer, claimed.incarnation, 0) AS incarnation
    FROM unnest(:partitions::integer[], :offsets::bigint[], :vehicle_ids::text[], :starts::timestamptz[]) WITH ORDINALITY
        AS record (partition, "offset", vehicle_id, valid_from, item)
    LEFT JOIN kafka_offsets AS claimed
        ON claimed.consumer_group = :consumer_group AND claimed.topic = :topic AND claimed.partition = record.partition
), advanced AS (
    INSERT INTO assignment_positions AS known (consumer_group, topic, partition, vehicle_id, valid_from, incarnation, "offset")
    SELECT DISTINCT ON (partition, vehicle_id, valid_from)
        :consumer_group, :topic, partition, vehicle_id, valid_from, incarnation, "offset"
    FROM given
    ORDER BY partition, vehicle_id, valid_from, incarnation DESC, "offset" DESC
    ON CONFLICT (consumer_group, topic, partition, vehicle_id, valid_from)
    DO UPDATE SET incarnation = excluded.incarnation, "offset" = excluded."offset"
    WHERE (excluded.incarnation, excluded."offset") > (known.incarnation, known."offset")
)
SELECT known."offset" IS NULL
    OR (given.incarnation, given."offset") > (known.incarnation, known."offset")
    OR (:incarnation::integer IS NOT NULL AND (given.incarnation, given."offset") = (known.incarnation, known."offset")) AS decides
FROM given
LEFT JOIN assignment_positions AS known
    ON known.consumer_group = :consumer_group AND known.topic = :topic
    AND (known.partition, known.vehicle_id, known.valid_from) = (given.partition, given.vehicle_id, given.valid_from)
ORDER BY given.item;
