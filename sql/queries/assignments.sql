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
