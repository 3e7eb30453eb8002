-- name: fleet_evaluation(bounds)
-- The last evaluation of all vehicles, counted and summed by status and by the step of `bounds` that contains the ratio.
SELECT status, width_bucket(ratio, :bounds::double precision[]) AS step, count(*) AS vehicles,
    sum(ac_kwh) AS ac_kwh, sum(dc_kwh) AS dc_kwh, min(window_end) AS window_end,
    -- NULL: only ever evaluated by the previous version, which leaves these columns as they are (docs/operations.md)
    sum(coalesce(ac_kwh_compared, ac_kwh)) AS ac_kwh_compared, sum(coalesce(dc_kwh_compared, dc_kwh_assigned)) AS dc_kwh_compared
FROM vehicle_efficiency
GROUP BY status, step;

-- name: fleet_live(reporting_within)^
-- Live figures: devices in total and reporting, progress of the consumers, open faults; asked_at is the database's clock.
SELECT clock_timestamp() AS asked_at, vehicles.total AS vehicles, vehicles.reporting AS vehicles_reporting,
    meters.total AS meters, meters.reporting AS meters_reporting,
    greatest(vehicles.newest, meters.newest) AS newest_reading,
    ledger.records_consumed, ledger.lag_records, ledger.written_at,
    (SELECT count(*) FROM efficiency_faults WHERE closed_at IS NULL) AS open_faults,
    (SELECT count(*) FROM vehicle_trends WHERE status = 'aging') AS aging
FROM (
    SELECT count(*) AS total, count(*) FILTER (WHERE recorded_at >= now() - :reporting_within::interval) AS reporting, max(recorded_at) AS newest
    FROM vehicle_live_status
) AS vehicles
CROSS JOIN (
    SELECT count(*) AS total, count(*) FILTER (WHERE recorded_at >= now() - :reporting_within::interval) AS reporting, max(recorded_at) AS newest
    FROM meter_live_status
) AS meters
CROSS JOIN (
    SELECT coalesce(sum(records_consumed), 0)::bigint AS records_consumed,
        coalesce(sum(greatest(end_offset - next_offset, 0)), 0)::bigint AS lag_records,
        max(updated_at) FILTER (WHERE records_consumed > 0) AS written_at
    FROM kafka_offsets
) AS ledger;

-- name: ranked_vehicles(sort, descending, ids_descending, status, search, after_id, after_rank, row_limit)
-- One page of evaluated vehicles, sorted by `sort` and then by id (vehicleId: by id alone), after the given position. The rank is the
-- value to sort by, negated for descending order, so that one comparison serves both; vehicles without a value come last.
WITH matching AS (
    SELECT evaluated.*, CASE WHEN :descending::boolean THEN -1 ELSE 1 END * CASE :sort::text
            WHEN 'efficiency' THEN ratio
            WHEN 'energyAc' THEN CASE WHEN assigned_seconds > 0 THEN ac_kwh END
            WHEN 'energyDc' THEN dc_kwh
            WHEN 'temperature' THEN average_battery_temp
        END AS rank
    FROM vehicle_efficiency AS evaluated
    WHERE (:status::text IS NULL OR status = :status)
        AND strpos(lower(vehicle_id), lower(:search::text)) > 0
), page AS (
    SELECT * FROM matching
    WHERE :after_id::text IS NULL
        OR rank > :after_rank::double precision
        OR (rank IS NULL AND :after_rank IS NOT NULL)
        OR (
            rank IS NOT DISTINCT FROM :after_rank
            AND CASE WHEN :ids_descending::boolean THEN vehicle_id < :after_id ELSE vehicle_id > :after_id END
        )
    ORDER BY rank NULLS LAST,
        CASE WHEN NOT :ids_descending THEN vehicle_id END, CASE WHEN :ids_descending THEN vehicle_id END DESC
    LIMIT :row_limit
)
SELECT page.*, live.soc, live.recorded_at, trends.status AS trend,
    EXISTS (
        SELECT FROM efficiency_faults AS fault WHERE fault.vehicle_id = page.vehicle_id AND fault.closed_at IS NULL
    ) AS fault_open
FROM page
LEFT JOIN vehicle_live_status AS live USING (vehicle_id)
LEFT JOIN vehicle_trends AS trends USING (vehicle_id)
ORDER BY page.rank NULLS LAST,
    CASE WHEN NOT :ids_descending THEN page.vehicle_id END, CASE WHEN :ids_descending THEN page.vehicle_id END DESC;

-- name: count_ranked_vehicles(status, search)$
-- Number of evaluated vehicles that match.
SELECT count(*) FROM vehicle_efficiency
WHERE (:status::text IS NULL OR status = :status) AND strpos(lower(vehicle_id), lower(:search::text)) > 0;

-- name: aging_vehicles(row_limit)
-- Vehicles whose efficiency falls from day to day, soonest fault first.
SELECT vehicle_id, status, slope, slope_low, slope_high, level, days_until_fault, last_day, computed_at
FROM vehicle_trends WHERE status = 'aging'
ORDER BY days_until_fault NULLS LAST, vehicle_id LIMIT :row_limit;

-- name: vehicle_status_of(vehicle_ids)
-- The newest reading of each of these vehicles that has one.
SELECT vehicle_id, soc, last_kwh_delivered_dc, last_battery_temp, recorded_at, updated_at
FROM vehicle_live_status WHERE vehicle_id = ANY(:vehicle_ids::text[]);
