-- migrate:up
-- What energy_of returns for a window, from carried sums: of those of the vehicles for which they suffice. `window_opens` is a whole
-- minute within `window_hour`; `carried_to` is in seconds since 1970. The ids are in ascending order, and few vehicles lie between the
-- first and the last that are not asked for: each table is read once from the first to the last, instead of being searched for each
-- vehicle. The function is inlined, so that the planner decides with these ids. Carried sums suffice when
-- - at most one meter was assigned, for the whole window,
-- - no late reading has come that is not in the sums yet,
-- - they end with `carried_since` or later: readings are looked for from there on,
-- - and what only one side has sent, if anything, is younger than the sums.
CREATE FUNCTION carried_energy_of(
    asked_ids text[], window_hour timestamptz, window_opens timestamptz, window_closes timestamptz, carried_since timestamptz
) RETURNS TABLE (
    vehicle_id text, carried_to double precision, assigned_seconds double precision, ac_kwh double precision, ac_points bigint,
    dc_kwh double precision, dc_points bigint, dc_kwh_assigned double precision, dc_points_assigned bigint,
    ac_kwh_compared double precision, ac_points_compared bigint, dc_kwh_compared double precision, dc_points_compared bigint,
    average_battery_temp double precision
) LANGUAGE sql STABLE ROWS 5000 AS $$
WITH state AS MATERIALIZED (
    SELECT late_before, folding_before FROM rollup_state
), marked AS MATERIALIZED (
    SELECT DISTINCT side, device_id FROM late_hours WHERE hour >= window_hour
), batch AS MATERIALIZED (
    SELECT vehicle_id, count(*) AS periods, min(meter_id) AS meter_id,
        bool_and(valid_during @> tstzrange(window_opens, window_closes, '[)')) AS whole
    FROM vehicle_meter_assignments
    WHERE vehicle_id >= asked_ids[1] AND vehicle_id <= asked_ids[cardinality(asked_ids)]
        AND lower(valid_during) < window_closes AND coalesce(upper(valid_during) > window_opens, true)
    GROUP BY vehicle_id
), assigned AS MATERIALIZED (
    SELECT asked.vehicle_id, batch.meter_id, live.recorded_at AS vehicle_newest, meter_live.recorded_at AS meter_newest,
        date_trunc('minute', least(live.recorded_at, meter_live.recorded_at)) + interval '1 minute' AS tail_opens
    FROM unnest(asked_ids) AS asked (vehicle_id)
    LEFT JOIN batch ON batch.vehicle_id = asked.vehicle_id
    LEFT JOIN vehicle_live_status AS live
        ON live.vehicle_id = asked.vehicle_id
        AND live.vehicle_id >= asked_ids[1] AND live.vehicle_id <= asked_ids[cardinality(asked_ids)]
    LEFT JOIN meter_live_status AS meter_live ON meter_live.meter_id = batch.meter_id
    WHERE batch.periods IS NULL OR (batch.whole AND live.recorded_at IS NOT NULL AND meter_live.recorded_at IS NOT NULL)
), carried AS MATERIALIZED (
    SELECT assigned.*, vehicle.closes AS vehicle_closes, meter.closes AS meter_closes,
        vehicle.kwh_delivered_dc AS dc_kwh, vehicle.readings AS dc_points, vehicle.battery_temp_sum,
        meter.kwh_consumed_ac AS ac_kwh, meter.readings AS ac_points
    FROM assigned
    JOIN state ON state.folding_before <= window_hour
    JOIN vehicle_carried_sums AS vehicle
        ON vehicle.hour = window_hour AND vehicle.vehicle_id = assigned.vehicle_id
        AND vehicle.vehicle_id >= asked_ids[1] AND vehicle.vehicle_id <= asked_ids[cardinality(asked_ids)]
        AND vehicle.closes >= carried_since AND vehicle.closes <= least(window_closes, state.late_before)
    LEFT JOIN meter_carried_sums AS meter
        ON meter.hour = window_hour AND meter.meter_id = assigned.meter_id
        AND meter.closes >= carried_since AND meter.closes <= least(window_closes, state.late_before)
    WHERE (assigned.meter_id IS NULL OR (
            meter.meter_id IS NOT NULL AND (
                assigned.tail_opens >= greatest(vehicle.closes, meter.closes)
                OR assigned.tail_opens > greatest(assigned.vehicle_newest, assigned.meter_newest)
            )
        ))
        AND NOT EXISTS (SELECT FROM marked WHERE side = 'vehicle' AND device_id IN (assigned.vehicle_id, ''))
        AND NOT EXISTS (SELECT FROM marked WHERE side = 'meter' AND device_id IN (assigned.meter_id, ''))
), settled AS MATERIALIZED (
    SELECT carried.vehicle_id, carried.meter_id, carried.vehicle_closes, carried.meter_closes, carried.tail_opens,
        carried.tail_opens < window_closes AND carried.tail_opens <= carried.vehicle_newest AS vehicle_ahead,
        carried.tail_opens < window_closes AND carried.tail_opens <= carried.meter_newest AS meter_ahead,
        carried.dc_kwh + coalesce(vehicle_leaving.kwh_delivered_dc[of_vehicle.leaving], 0) AS dc_kwh,
        carried.dc_points + of_vehicle.leaving AS dc_points,
        carried.battery_temp_sum + coalesce(vehicle_leaving.battery_temp_sum[of_vehicle.leaving], 0) AS battery_temp_sum,
        carried.ac_kwh + coalesce(meter_leaving.kwh_consumed_ac[of_meter.leaving], 0) AS ac_kwh,
        carried.ac_points + of_meter.leaving AS ac_points
    FROM carried
    JOIN vehicle_leaving_hours AS vehicle_leaving
        ON vehicle_leaving.hour = window_hour AND vehicle_leaving.vehicle_id = carried.vehicle_id
        AND vehicle_leaving.vehicle_id >= asked_ids[1]
        AND vehicle_leaving.vehicle_id <= asked_ids[cardinality(asked_ids)]
    LEFT JOIN meter_leaving_hours AS meter_leaving ON meter_leaving.hour = window_hour AND meter_leaving.meter_id = carried.meter_id
    CROSS JOIN (SELECT (59 - date_part('minute', window_opens AT TIME ZONE 'UTC'))::smallint AS of_window) AS minutes_left
    CROSS JOIN LATERAL (
        SELECT coalesce(width_bucket(minutes_left.of_window, vehicle_leaving.minutes_left), 0) AS leaving
    ) AS of_vehicle
    CROSS JOIN LATERAL (
        SELECT coalesce(width_bucket(minutes_left.of_window, meter_leaving.minutes_left), 0) AS leaving
    ) AS of_meter
)
SELECT
    settled.vehicle_id, date_part('epoch', least(settled.vehicle_closes, settled.meter_closes)) AS carried_to,
    CASE WHEN meter_id IS NOT NULL THEN extract(epoch FROM window_closes - window_opens)::double precision END AS assigned_seconds,
    coalesce(settled.ac_kwh + coalesce(recent_ac.kwh, 0), 0) AS ac_kwh,
    coalesce(settled.ac_points + recent_ac.readings, 0) AS ac_points,
    settled.dc_kwh + coalesce(recent_dc.kwh, 0) AS dc_kwh,
    settled.dc_points + recent_dc.readings AS dc_points,
    CASE WHEN meter_id IS NULL THEN 0 ELSE settled.dc_kwh + coalesce(recent_dc.kwh, 0) END AS dc_kwh_assigned,
    CASE WHEN meter_id IS NULL THEN 0 ELSE settled.dc_points + recent_dc.readings END AS dc_points_assigned,
    coalesce(settled.ac_kwh + coalesce(CASE WHEN meter_ahead THEN common_ac.kwh ELSE recent_ac.kwh END, 0), 0) AS ac_kwh_compared,
    coalesce(settled.ac_points + CASE WHEN meter_ahead THEN common_ac.readings ELSE recent_ac.readings END, 0)
        AS ac_points_compared,
    CASE WHEN meter_id IS NULL THEN 0
        ELSE settled.dc_kwh + coalesce(CASE WHEN vehicle_ahead THEN common_dc.kwh ELSE recent_dc.kwh END, 0) END AS dc_kwh_compared,
    CASE WHEN meter_id IS NULL THEN 0
        ELSE settled.dc_points + CASE WHEN vehicle_ahead THEN common_dc.readings ELSE recent_dc.readings END END
        AS dc_points_compared,
    (settled.battery_temp_sum + coalesce(recent_dc.battery_temp_sum, 0)) / nullif(settled.dc_points + recent_dc.readings, 0)
        AS average_battery_temp
FROM settled
CROSS JOIN LATERAL (
    SELECT sum(kwh_delivered_dc) AS kwh, sum(battery_temp) AS battery_temp_sum, count(*) AS readings
    FROM vehicle_telemetry_history
    WHERE vehicle_id = settled.vehicle_id AND recorded_at >= settled.vehicle_closes
        AND recorded_at >= carried_since AND recorded_at < window_closes -- constants, which leave few partitions
) AS recent_dc
CROSS JOIN LATERAL (
    SELECT sum(kwh_consumed_ac) AS kwh, count(*) AS readings
    FROM meter_telemetry_history
    WHERE meter_id = settled.meter_id AND recorded_at >= settled.meter_closes
        AND recorded_at >= carried_since AND recorded_at < window_closes
) AS recent_ac
CROSS JOIN LATERAL (
    SELECT sum(kwh_delivered_dc) AS kwh, count(*) AS readings
    FROM vehicle_telemetry_history
    WHERE settled.vehicle_ahead
        AND vehicle_id = settled.vehicle_id AND recorded_at >= settled.vehicle_closes AND recorded_at < settled.tail_opens
        AND recorded_at >= carried_since AND recorded_at < window_closes
) AS common_dc
CROSS JOIN LATERAL (
    SELECT sum(kwh_consumed_ac) AS kwh, count(*) AS readings
    FROM meter_telemetry_history
    WHERE settled.meter_ahead
        AND meter_id = settled.meter_id AND recorded_at >= settled.meter_closes AND recorded_at < settled.tail_opens
        AND recorded_at >= carried_since AND recorded_at < window_closes
) AS common_ac;
$$;

-- The round of maintenance that may store evaluations, in each of its sessions. One row.
CREATE TABLE evaluation_round (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    token uuid NOT NULL DEFAULT gen_random_uuid()
);
INSERT INTO evaluation_round DEFAULT VALUES;

-- migrate:down
DROP TABLE evaluation_round;
DROP FUNCTION carried_energy_of;
