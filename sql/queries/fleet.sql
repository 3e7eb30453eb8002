-- name: delete_evaluation_totals()!
DELETE FROM evaluation_totals;

-- name: insert_evaluation_totals(bounds)!
INSERT INTO evaluation_totals SELECT * FROM sum_evaluations(:bounds);

-- name: store_device_totals(reporting_within)!
UPDATE device_totals
SET counted_at = now(), vehicles = vehicle.total, vehicles_reporting = vehicle.reporting,
    meters = meter.total, meters_reporting = meter.reporting, newest_reading = greatest(vehicle.newest, meter.newest)
FROM (
    SELECT count(*) AS total, count(*) FILTER (WHERE recorded_at >= now() - :reporting_within::interval) AS reporting, max(recorded_at) AS newest
    FROM vehicle_live_status
) AS vehicle
CROSS JOIN (
    SELECT count(*) AS total, count(*) FILTER (WHERE recorded_at >= now() - :reporting_within) AS reporting, max(recorded_at) AS newest
    FROM meter_live_status
) AS meter;

-- name: fleet_evaluation(bounds)
-- The last evaluation of all vehicles, counted and summed by status and by the bucket of `bounds` that contains the ratio.
SELECT *, nullif(bucket, 0) AS step FROM evaluation_totals
UNION ALL
-- During an upgrade: maintenance of the previous version stores no totals.
SELECT *, nullif(bucket, 0) AS step FROM sum_evaluations(:bounds::double precision[]) WHERE NOT EXISTS (SELECT FROM evaluation_totals);

-- name: fleet_live(reporting_within, most_counted)^
-- Live figures: devices in total and reporting, progress of the consumers, open faults; asked_at is the database's clock.
-- Fewer than `most_counted` vehicles (or meters) are counted now. Of more, the totals are those of maintenance, and the newest reading is
-- that of so many devices, or of all devices when maintenance counted them.
SELECT clock_timestamp() AS asked_at,
    CASE WHEN vehicle.total < :most_counted THEN vehicle.total ELSE greatest(vehicle.total, stored.vehicles) END AS vehicles,
    CASE WHEN vehicle.total < :most_counted THEN vehicle.reporting ELSE stored.vehicles_reporting END AS vehicles_reporting,
    CASE WHEN meter.total < :most_counted THEN meter.total ELSE greatest(meter.total, stored.meters) END AS meters,
    CASE WHEN meter.total < :most_counted THEN meter.reporting ELSE stored.meters_reporting END AS meters_reporting,
    greatest(vehicle.newest, meter.newest, stored.newest_reading) AS newest_reading,
    ledger.records_consumed, ledger.lag_records, ledger.written_at,
    (SELECT count(*) FROM efficiency_faults WHERE closed_at IS NULL) AS open_faults,
    (SELECT count(*) FROM vehicle_trends WHERE status = 'aging') AS aging
FROM device_totals AS stored
CROSS JOIN (
    SELECT count(*) AS total, count(*) FILTER (WHERE recorded_at >= now() - :reporting_within::interval) AS reporting, max(recorded_at) AS newest
    FROM (SELECT recorded_at FROM vehicle_live_status LIMIT :most_counted::integer) AS counted
) AS vehicle
CROSS JOIN (
    SELECT count(*) AS total, count(*) FILTER (WHERE recorded_at >= now() - :reporting_within) AS reporting, max(recorded_at) AS newest
    FROM (SELECT recorded_at FROM meter_live_status LIMIT :most_counted) AS counted
) AS meter
CROSS JOIN (
    SELECT coalesce(sum(records_consumed), 0)::bigint AS records_consumed,
        coalesce(sum(greatest(end_offset - next_offset, 0)), 0)::bigint AS lag_records,
        max(updated_at) FILTER (WHERE records_consumed > 0) AS written_at
    FROM kafka_offsets
) AS ledger;

-- name: ranked_vehicles(sort, descending, status, search, few, after_id, after_rank, row_limit)
-- One page of evaluated vehicles with their rank, after the given position; the function of the same name describes the parameters.
SELECT evaluated.*, page.rank, live.soc, live.recorded_at, trends.status AS trend,
    EXISTS (
        SELECT FROM efficiency_faults AS fault WHERE fault.vehicle_id = page.vehicle_id AND fault.closed_at IS NULL
    ) AS fault_open
FROM ranked_vehicles(
    :sort::text, :descending::boolean, :status::text, :search::text, :few::boolean, :after_rank::double precision, :after_id::text,
    :row_limit::integer
) WITH ORDINALITY AS page (vehicle_id, rank, position)
JOIN vehicle_efficiency AS evaluated ON evaluated.vehicle_id = page.vehicle_id
LEFT JOIN vehicle_live_status AS live ON live.vehicle_id = page.vehicle_id
LEFT JOIN vehicle_trends AS trends ON trends.vehicle_id = page.vehicle_id
ORDER BY page.position;

-- name: count_ranked_vehicles(status, search, most)^
-- Number of evaluated vehicles that match, counted up to `most`; `evaluated`: of that status, or all, when maintenance counted them.
SELECT count_vehicles(:status::text, :search::text, :most::integer) AS counted, (
    SELECT coalesce(sum(vehicles), 0)::bigint FROM evaluation_totals WHERE :status IS NULL OR status = :status
) AS evaluated;

-- name: aging_vehicles(row_limit)
-- Vehicles whose efficiency falls from day to day, soonest fault first.
SELECT vehicle_id, status, slope, slope_low, slope_high, level, days_until_fault, last_day, computed_at
FROM vehicle_trends WHERE status = 'aging'
ORDER BY days_until_fault NULLS LAST, vehicle_id LIMIT :row_limit;

-- name: vehicle_status_of(vehicle_ids)
-- The newest reading of each of these vehicles that has one.
SELECT vehicle_id, soc, last_kwh_delivered_dc, last_battery_temp, recorded_at, updated_at
FROM vehicle_live_status WHERE vehicle_id = ANY(:vehicle_ids::text[]);
