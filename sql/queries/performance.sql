-- name: vehicle_performance(vehicle_id, window_start, window_end)^
-- Energy in, energy out and temperature of one vehicle over [window_start, window_end).
-- Each side is summed on its own: joining the two histories would multiply rows. A meter's readings count only while the meter
-- was assigned to the vehicle; dc_assigned is the vehicle's energy of that same time, which is what a ratio may be made of.
WITH bounds AS MATERIALIZED (
    SELECT :window_start::timestamptz AS opens, :window_end::timestamptz AS closes
), assigned AS MATERIALIZED (
    SELECT meter_id, greatest(lower(valid_during), opens) AS opens, least(upper(valid_during), closes) AS closes
    FROM vehicle_meter_assignments, bounds
    WHERE vehicle_id = :vehicle_id AND valid_during && tstzrange(opens, closes, '[)')
), ac AS (
    SELECT sum(history.kwh_consumed_ac) AS kwh, count(*) AS points
    FROM assigned
    JOIN meter_telemetry_history AS history
        ON history.meter_id = assigned.meter_id
        AND history.recorded_at >= assigned.opens AND history.recorded_at < assigned.closes
    WHERE history.recorded_at >= :window_start AND history.recorded_at < :window_end
), dc AS (
    SELECT sum(history.kwh_delivered_dc) AS kwh, count(*) AS points, avg(history.battery_temp) AS battery_temp,
        sum(history.kwh_delivered_dc) FILTER (WHERE while_assigned) AS kwh_assigned,
        count(*) FILTER (WHERE while_assigned) AS points_assigned
    FROM vehicle_telemetry_history AS history
    CROSS JOIN LATERAL (
        SELECT EXISTS (
            SELECT FROM assigned WHERE history.recorded_at >= opens AND history.recorded_at < closes
        ) AS while_assigned
    ) AS assignment
    WHERE history.vehicle_id = :vehicle_id
        AND history.recorded_at >= :window_start AND history.recorded_at < :window_end
)
SELECT
    (SELECT extract(epoch FROM sum(closes - opens))::double precision FROM assigned) AS assigned_seconds,
    coalesce(ac.kwh, 0) AS ac_kwh,
    ac.points AS ac_points,
    coalesce(dc.kwh, 0) AS dc_kwh,
    dc.points AS dc_points,
    coalesce(dc.kwh_assigned, 0) AS dc_kwh_assigned,
    dc.points_assigned AS dc_points_assigned,
    dc.battery_temp AS average_battery_temp,
    EXISTS (SELECT FROM vehicle_live_status WHERE vehicle_id = :vehicle_id)
        OR EXISTS (SELECT FROM vehicle_meter_assignments WHERE vehicle_id = :vehicle_id) AS known
FROM ac, dc;
