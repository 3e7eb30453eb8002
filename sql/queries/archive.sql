-- name: retired_months_of(histories, opens, closes)
-- The months of these histories that overlap [opens, closes) and were dropped, each with the directories of its archives.
-- `lost`: some of its readings were dropped without an archive.
SELECT history, month, bool_or(archived_in IS NULL) AS lost,
    coalesce(array_agg(DISTINCT archived_in) FILTER (WHERE archived_in IS NOT NULL), '{}') AS directories
FROM retired_months
WHERE history = ANY(:histories::text[])
    AND month >= date_trunc('month', :opens::timestamptz AT TIME ZONE 'UTC') AND month < :closes::timestamptz AT TIME ZONE 'UTC'
GROUP BY month, history
ORDER BY month, history;

-- name: assigned_parts(vehicle_ids, opens, closes)
-- The times at which vehicles were assigned to meters, each within its own period [opens, closes) given. `compared_until`: the minute
-- after the older of both sides' newest readings, as in the query energy_of.
SELECT requested.position - 1 AS position, assignment.meter_id,
    greatest(lower(assignment.valid_during), requested.opens) AS opens,
    least(upper(assignment.valid_during), requested.closes) AS closes,
    date_trunc('minute', least(
        coalesce((SELECT live.recorded_at FROM vehicle_live_status AS live WHERE live.vehicle_id = requested.vehicle_id), '-infinity'),
        coalesce((SELECT live.recorded_at FROM meter_live_status AS live WHERE live.meter_id = assignment.meter_id), '-infinity')
    )) + interval '1 minute' AS compared_until
FROM unnest(:vehicle_ids::text[], :opens::timestamptz[], :closes::timestamptz[])
    WITH ORDINALITY AS requested (vehicle_id, opens, closes, position)
JOIN vehicle_meter_assignments AS assignment
    ON assignment.vehicle_id = requested.vehicle_id
    AND assignment.valid_during && tstzrange(requested.opens, requested.closes, '[)')
ORDER BY position, opens;
