-- name: list_faults(state, vehicle_id, before, row_limit)
-- One page of faults, newest first, older than the given one. The parameters choose one branch, and only that one is executed:
-- each reads a page from an index in the order of the result, whether it was planned for these parameters or for any.
WITH page AS (
    (
        SELECT * FROM efficiency_faults
        WHERE :vehicle_id::text IS NULL AND :state::text = 'open' AND closed_at IS NULL
            AND fault_id < coalesce(:before::bigint, 9223372036854775807)
        ORDER BY fault_id DESC LIMIT :row_limit
    )
    UNION ALL
    (
        SELECT * FROM efficiency_faults
        WHERE :vehicle_id IS NULL AND :state <> 'open' AND (:state = 'all' OR closed_at IS NOT NULL)
            AND fault_id < coalesce(:before, 9223372036854775807)
        ORDER BY fault_id DESC LIMIT :row_limit
    )
    UNION ALL
    (
        SELECT * FROM efficiency_faults
        WHERE vehicle_id = :vehicle_id AND (:state = 'all' OR (closed_at IS NULL) = (:state = 'open'))
            AND fault_id < coalesce(:before, 9223372036854775807)
        ORDER BY fault_id DESC LIMIT :row_limit
    )
)
SELECT fault_id, vehicle_id, meter_ids, CASE WHEN closed_at IS NULL THEN 'open' ELSE 'closed' END AS state,
    opened_at, opened_ratio, opened_ac_kwh, opened_dc_kwh, lowest_ratio, closed_at, closed_ratio
FROM page ORDER BY fault_id DESC;
