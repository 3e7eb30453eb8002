-- name: fleet_vehicles(after, row_limit)
-- Vehicles with a reading or an assignment, in the order of their ids, after the given one.
SELECT vehicle_id FROM (
    (SELECT vehicle_id FROM vehicle_live_status WHERE vehicle_id > :after ORDER BY vehicle_id LIMIT :row_limit)
    UNION
    (SELECT DISTINCT vehicle_id FROM vehicle_meter_assignments WHERE vehicle_id > :after ORDER BY vehicle_id LIMIT :row_limit)
) AS fleet
ORDER BY vehicle_id LIMIT :row_limit;

-- name: fault_states(vehicle_ids, window_end)
-- The fault state of those of the vehicles that were not evaluated for this window: that of the last evaluation (0, 0 without one;
-- `known` tells whether there is one), and the open fault, which outlives a deleted evaluation. An evaluation whose window ends later
-- is of a clock that was ahead. The ids are in ascending order, and so are the rows.
SELECT vehicle.vehicle_id, latest.vehicle_id IS NOT NULL AS known, coalesce(latest.faulty_in_a_row, 0) AS faulty_in_a_row,
    coalesce(latest.sound_in_a_row, 0) AS sound_in_a_row, fault.fault_id
FROM unnest(:vehicle_ids::text[]) AS vehicle (vehicle_id)
LEFT JOIN vehicle_efficiency AS latest
    ON latest.vehicle_id = vehicle.vehicle_id
    AND latest.vehicle_id >= (:vehicle_ids)[1] AND latest.vehicle_id <= (:vehicle_ids)[cardinality(:vehicle_ids)]
LEFT JOIN efficiency_faults AS fault
    ON fault.vehicle_id = vehicle.vehicle_id AND fault.closed_at IS NULL
    AND fault.vehicle_id >= (:vehicle_ids)[1] AND fault.vehicle_id <= (:vehicle_ids)[cardinality(:vehicle_ids)]
WHERE latest.window_end IS DISTINCT FROM :window_end::timestamptz
ORDER BY vehicle_id;

-- name: begin_evaluation()$
-- From now on, only the round with the returned token stores evaluations in sessions without the lock of maintenance.
UPDATE evaluation_round SET token = gen_random_uuid() RETURNING token;

-- name: evaluate_unchanged(token, vehicle_ids, hour, opens, closes, carried_from, fault_below, degraded_below, min_energy, min_coverage, most_apart, no_energy, faulty, degraded, healthy, open_after, close_after, close_from)^
-- Evaluates those of the vehicles whose carried sums suffice, that have an earlier evaluation, a meter for the whole window and readings
-- on both sides, that either have enough data to be judged or no energy at all, and whose fault neither opens, closes nor gets worse. It
-- stores what assess_efficiency and next_state return for them (sql/analytics). Returns how many there were, how far the sums of all of them
-- are carried, in seconds since 1970, and the ids of the other vehicles, in the same order. The function carried_energy_of describes the
-- parameters up to `carried_from`; the texts are reasons.
WITH round AS MATERIALIZED (
    SELECT FROM evaluation_round WHERE token = :token FOR SHARE
), energy AS (
    SELECT *, least(1, round(ac_points * float8 '60' / assigned_seconds * 10000) / 10000) AS ac_coverage,
        least(1, round(dc_points_assigned * float8 '60' / assigned_seconds * 10000) / 10000) AS dc_coverage
    FROM carried_energy_of(:vehicle_ids, :hour, :opens, :closes, :carried_from)
    WHERE assigned_seconds > 0 AND ac_points_compared > 0 AND dc_points_compared > 0
), compared AS (
    -- The limit of a microwatt-hour keeps the quotient from overflowing.
    SELECT *, CASE WHEN ac_kwh_compared > 0 THEN round(dc_kwh_compared / ac_kwh_compared * 10000) / 100 END AS ratio
    FROM energy
    WHERE ac_kwh_compared = 0 OR (
        ac_kwh_compared >= greatest(:min_energy::float8, 1e-9) AND (dc_kwh_compared = 0 OR dc_kwh_compared >= 1e-9)
        AND least(ac_coverage, dc_coverage) >= :min_coverage::float8
        AND greatest(abs(ac_points - dc_points_assigned), abs(ac_points_compared - dc_points_compared)) <= :most_apart::float8
    )
), assessed AS (
    SELECT *, ratio < :fault_below::float8 AS is_faulty, ratio >= greatest(:close_from::float8, :fault_below) AS is_recovered,
        CASE WHEN ratio IS NULL THEN 'insufficient_data' WHEN ratio < :fault_below THEN 'faulty'
            WHEN ratio < :degraded_below::float8 THEN 'degraded' ELSE 'healthy' END AS status,
        CASE WHEN ratio IS NULL THEN :no_energy::text WHEN ratio < :fault_below THEN ratio || :faulty::text
            WHEN ratio < :degraded_below THEN ratio || :degraded::text ELSE ratio || :healthy::text END AS reason
    FROM compared
    WHERE ratio IS NULL OR ratio <= 100
), stored AS (
    UPDATE vehicle_efficiency AS latest SET
        window_end = :closes, assigned_seconds = assessed.assigned_seconds, ac_kwh = assessed.ac_kwh, dc_kwh = assessed.dc_kwh,
        dc_kwh_assigned = assessed.dc_kwh_assigned, ac_points = assessed.ac_points, dc_points = assessed.dc_points,
        dc_points_assigned = assessed.dc_points_assigned, ac_kwh_compared = assessed.ac_kwh_compared,
        dc_kwh_compared = assessed.dc_kwh_compared, average_battery_temp = assessed.average_battery_temp, ratio = assessed.ratio,
        ac_coverage = assessed.ac_coverage, dc_coverage = assessed.dc_coverage, status = assessed.status, reason = assessed.reason,
        faulty_in_a_row = CASE WHEN is_faulty THEN faulty_in_a_row + 1 WHEN assessed.ratio IS NULL THEN faulty_in_a_row ELSE 0 END,
        sound_in_a_row = CASE WHEN is_recovered THEN sound_in_a_row + 1 WHEN assessed.ratio IS NULL THEN sound_in_a_row ELSE 0 END
    FROM assessed
    LEFT JOIN efficiency_faults AS fault
        ON fault.vehicle_id = assessed.vehicle_id AND fault.closed_at IS NULL
        AND fault.vehicle_id >= (:vehicle_ids)[1] AND fault.vehicle_id <= (:vehicle_ids)[cardinality(:vehicle_ids)]
    WHERE EXISTS (SELECT FROM round)
        AND latest.vehicle_id = assessed.vehicle_id AND latest.window_end < :closes
        AND latest.vehicle_id >= (:vehicle_ids)[1] AND latest.vehicle_id <= (:vehicle_ids)[cardinality(:vehicle_ids)]
        AND CASE WHEN assessed.ratio IS NULL THEN true
            WHEN fault.fault_id IS NULL THEN NOT is_faulty OR faulty_in_a_row + 1 < :open_after::integer
            WHEN is_faulty THEN assessed.ratio >= fault.lowest_ratio
            ELSE NOT is_recovered OR sound_in_a_row + 1 < :close_after::integer END
    RETURNING assessed.vehicle_id, assessed.carried_to
)
SELECT count(*)::integer AS vehicles, min(carried_to) AS carried_to, ARRAY(
    SELECT asked.vehicle_id FROM unnest(:vehicle_ids) WITH ORDINALITY AS asked (vehicle_id, position)
    WHERE asked.vehicle_id NOT IN (SELECT vehicle_id FROM stored)
    ORDER BY asked.position
) AS others
FROM stored;

-- name: assigned_meters(vehicle_ids, opens, closes)
-- The meters that were assigned to vehicles during [opens, closes).
SELECT vehicle_id, array_agg(DISTINCT meter_id ORDER BY meter_id) AS meter_ids
FROM vehicle_meter_assignments
WHERE vehicle_id = ANY(:vehicle_ids::text[]) AND valid_during && tstzrange(:opens, :closes, '[)')
GROUP BY vehicle_id;

-- name: insert_evaluations(window_end, vehicle_ids, assigned_seconds, ac_kwhs, dc_kwhs, dc_kwhs_assigned, ac_points, dc_points, dc_points_assigned, ac_kwhs_compared, dc_kwhs_compared, temperatures, ratios, ac_coverages, dc_coverages, statuses, reasons, faulty, sound)!
INSERT INTO vehicle_efficiency (
    window_end, vehicle_id, assigned_seconds, ac_kwh, dc_kwh, dc_kwh_assigned, ac_points, dc_points, dc_points_assigned,
    ac_kwh_compared, dc_kwh_compared, average_battery_temp, ratio, ac_coverage, dc_coverage, status, reason, faulty_in_a_row,
    sound_in_a_row
)
SELECT :window_end::timestamptz, given.*
FROM unnest(
    :vehicle_ids::text[], :assigned_seconds::double precision[], :ac_kwhs::double precision[], :dc_kwhs::double precision[],
    :dc_kwhs_assigned::double precision[], :ac_points::bigint[], :dc_points::bigint[], :dc_points_assigned::bigint[],
    :ac_kwhs_compared::double precision[], :dc_kwhs_compared::double precision[],
    :temperatures::double precision[], :ratios::double precision[], :ac_coverages::double precision[],
    :dc_coverages::double precision[], :statuses::text[], :reasons::text[], :faulty::integer[], :sound::integer[]
) AS given;

-- name: update_evaluations(window_end, vehicle_ids, assigned_seconds, ac_kwhs, dc_kwhs, dc_kwhs_assigned, ac_points, dc_points, dc_points_assigned, ac_kwhs_compared, dc_kwhs_compared, temperatures, ratios, ac_coverages, dc_coverages, statuses, reasons, faulty, sound)!
-- Stores evaluations of vehicles that have one already. An insertion that finds a conflict takes more time, and more of the log.
UPDATE vehicle_efficiency AS stored SET
    window_end = :window_end, assigned_seconds = given.assigned_seconds, ac_kwh = given.ac_kwh, dc_kwh = given.dc_kwh,
    dc_kwh_assigned = given.dc_kwh_assigned, ac_points = given.ac_points, dc_points = given.dc_points,
    dc_points_assigned = given.dc_points_assigned, ac_kwh_compared = given.ac_kwh_compared,
    dc_kwh_compared = given.dc_kwh_compared, average_battery_temp = given.average_battery_temp, ratio = given.ratio,
    ac_coverage = given.ac_coverage, dc_coverage = given.dc_coverage, status = given.status, reason = given.reason,
    faulty_in_a_row = given.faulty_in_a_row, sound_in_a_row = given.sound_in_a_row
FROM unnest(
    :vehicle_ids::text[], :assigned_seconds::double precision[], :ac_kwhs::double precision[], :dc_kwhs::double precision[],
    :dc_kwhs_assigned::double precision[], :ac_points::bigint[], :dc_points::bigint[], :dc_points_assigned::bigint[],
    :ac_kwhs_compared::double precision[], :dc_kwhs_compared::double precision[],
    :temperatures::double precision[], :ratios::double precision[], :ac_coverages::double precision[],
    :dc_coverages::double precision[], :statuses::text[], :reasons::text[], :faulty::integer[], :sound::integer[]
) AS given (
    vehicle_id, assigned_seconds, ac_kwh, dc_kwh, dc_kwh_assigned, ac_points, dc_points, dc_points_assigned, ac_kwh_compared,
    dc_kwh_compared, average_battery_temp, ratio, ac_coverage, dc_coverage, status, reason, faulty_in_a_row, sound_in_a_row
)
WHERE stored.vehicle_id = given.vehicle_id;

-- name: delete_stale_evaluations(window_end)!
-- Deletes vehicles that the evaluation of the whole fleet did not include: they have no readings and no assignments any more.
DELETE FROM vehicle_efficiency WHERE window_end <> :window_end;

-- name: open_fault(vehicle_id, meter_ids, at, ratio, ac_kwh, dc_kwh)^
INSERT INTO efficiency_faults
    (vehicle_id, meter_ids, opened_at, opened_ratio, opened_ac_kwh, opened_dc_kwh, lowest_ratio)
VALUES (:vehicle_id, :meter_ids, :at, :ratio, :ac_kwh, :dc_kwh, :ratio)
RETURNING fault_id;

-- name: close_fault(fault_id, at, ratio, ac_kwh, dc_kwh)^
-- A fault that was opened by a clock that was ahead closes at the instant at which it was opened.
UPDATE efficiency_faults
SET closed_at = greatest(opened_at, :at), closed_ratio = :ratio, closed_ac_kwh = :ac_kwh, closed_dc_kwh = :dc_kwh
WHERE fault_id = :fault_id AND closed_at IS NULL
RETURNING fault_id, meter_ids;

-- name: record_lowest_ratio(fault_ids, ratios)!
UPDATE efficiency_faults AS fault SET lowest_ratio = seen.ratio
FROM unnest(:fault_ids::bigint[], :ratios::double precision[]) AS seen (fault_id, ratio)
WHERE fault.fault_id = seen.fault_id AND seen.ratio < fault.lowest_ratio;

-- name: insert_alert(key, value)!
INSERT INTO alert_outbox (key, value) VALUES (:key, :value);

-- name: delete_published_alerts(published_before)!
DELETE FROM alert_outbox WHERE published_at < :published_before;

-- name: trends_due(last_day, row_limit)
-- Vehicles whose trend does not end with this day: it ends earlier, or was computed by a clock that was ahead.
SELECT vehicle_id FROM vehicle_live_status AS live
WHERE NOT EXISTS (
    SELECT FROM vehicle_trends AS stored WHERE stored.vehicle_id = live.vehicle_id AND stored.last_day = :last_day
)
ORDER BY vehicle_id LIMIT :row_limit;

-- name: days_with_readings(vehicle_ids, first_day, last_day)
-- The days of each of these vehicles that have readings; of those that are not folded yet, all.
SELECT vehicle_id, day FROM vehicle_days
WHERE vehicle_id = ANY(:vehicle_ids::text[]) AND day >= :first_day AND day <= :last_day AND day < first_day_not_folded()
UNION
SELECT vehicle_id, utc_day(recorded_at) FROM vehicle_late_readings
WHERE vehicle_id = ANY(:vehicle_ids::text[])
    AND recorded_at >= :first_day::date::timestamp AT TIME ZONE 'UTC'
    AND recorded_at < (:last_day::date + 1)::timestamp AT TIME ZONE 'UTC'
UNION
SELECT vehicle_id, day::date FROM unnest(:vehicle_ids::text[]) AS vehicle_id
CROSS JOIN generate_series(greatest(:first_day, first_day_not_folded())::timestamp, :last_day::date, '1 day') AS day
ORDER BY vehicle_id, day;

-- name: store_trends(last_day, vehicle_ids, days, slopes, lows, highs, levels, statuses, until_faults)!
INSERT INTO vehicle_trends AS stored
    (last_day, computed_at, vehicle_id, days, slope, slope_low, slope_high, level, status, days_until_fault)
SELECT :last_day::date, now(), given.*
FROM unnest(
    :vehicle_ids::text[], :days::integer[], :slopes::double precision[], :lows::double precision[],
    :highs::double precision[], :levels::double precision[], :statuses::text[], :until_faults::double precision[]
) AS given
ON CONFLICT (vehicle_id) DO UPDATE SET
    last_day = excluded.last_day, computed_at = excluded.computed_at, days = excluded.days, slope = excluded.slope,
    slope_low = excluded.slope_low, slope_high = excluded.slope_high, level = excluded.level, status = excluded.status,
    days_until_fault = excluded.days_until_fault;

-- name: try_lock_maintenance()^
-- Whether this session may run the frequent maintenance tasks; the lock is held until the session ends.
SELECT pg_try_advisory_lock(hashtext('energy.maintain')) AS acquired;
