-- name: list_faults(state, vehicle_id, before, row_limit)
-- One page of faults, newest first, older than the given one.
SELECT fault_id, vehicle_id, meter_ids, CASE WHEN closed_at IS NULL THEN 'open' ELSE 'closed' END AS state,
    opened_at, opened_ratio, opened_ac_kwh, opened_dc_kwh, lowest_ratio, closed_at, closed_ratio
FROM efficiency_faults
WHERE (:before::bigint IS NULL OR fault_id < :before)
    AND (:vehicle_id::text IS NULL OR vehicle_id = :vehicle_id)
    AND (:state::text = 'all' OR (closed_at IS NULL) = (:state = 'open'))
ORDER BY fault_id DESC LIMIT :row_limit;
