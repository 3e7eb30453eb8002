-- name: energy_of(vehicle_ids, opens, closes)
-- Energy in, energy out and battery of vehicles, each over its own period [opens, closes): one row per period, in the order
-- given. Every response about energy uses this query: 24 hours of a vehicle or the fleet, hours, days.
-- Each side is summed separately, because joining the two histories would multiply rows. A meter's readings count only while the
-- meter was assigned to the vehicle; dc_kwh_assigned is the vehicle's energy of the same time. The columns `_compared` leave out the
-- tail for which only one side has sent readings so far: they end with the minute of the older of both sides' newest readings, and
-- are empty where a device has never sent one.
WITH state AS MATERIALIZED (
    SELECT complete_before FROM rollup_state
), requested AS MATERIALIZED (
    SELECT * FROM unnest(:vehicle_ids::text[], :opens::timestamptz[], :closes::timestamptz[])
        WITH ORDINALITY AS period (vehicle_id, opens, closes, position)
), assigned AS MATERIALIZED (
    SELECT requested.position, requested.vehicle_id, assignment.meter_id,
        greatest(lower(assignment.valid_during), requested.opens) AS opens,
        least(upper(assignment.valid_during), requested.closes) AS closes,
        date_trunc('minute', least( -- which ignores NULL: a device that has never sent would not count
            coalesce((SELECT live.recorded_at FROM vehicle_live_status AS live WHERE live.vehicle_id = requested.vehicle_id), '-infinity'),
            coalesce((SELECT live.recorded_at FROM meter_live_status AS live WHERE live.meter_id = assignment.meter_id), '-infinity')
        )) + interval '1 minute' AS tail_opens
    FROM requested
    JOIN vehicle_meter_assignments AS assignment
        ON assignment.vehicle_id = requested.vehicle_id
        AND assignment.valid_during && tstzrange(requested.opens, requested.closes, '[)')
), compared AS MATERIALIZED (
    SELECT position, vehicle_id, meter_id, opens, least(closes, tail_opens) AS closes, true AS compared
    FROM assigned WHERE opens < tail_opens
    UNION ALL
    SELECT position, vehicle_id, meter_id, greatest(opens, tail_opens), closes, false
    FROM assigned WHERE closes > tail_opens
), unassigned AS (
    SELECT requested.position, requested.vehicle_id, lower(gap) AS opens, upper(gap) AS closes
    FROM requested
    LEFT JOIN (
        SELECT position, range_agg(tstzrange(opens, closes, '[)')) AS periods FROM assigned GROUP BY position
    ) AS covered USING (position)
    CROSS JOIN LATERAL unnest(
        tstzmultirange(tstzrange(requested.opens, requested.closes, '[)')) - coalesce(covered.periods, '{}')
    ) AS gap
), ac AS (
    SELECT position, sum(energy.kwh) AS kwh, sum(energy.readings)::bigint AS readings,
        sum(energy.kwh) FILTER (WHERE part.compared) AS kwh_compared,
        (sum(energy.readings) FILTER (WHERE part.compared))::bigint AS readings_compared,
        extract(epoch FROM sum(part.closes - part.opens))::double precision AS seconds
    FROM compared AS part
    CROSS JOIN state
    CROSS JOIN LATERAL meter_energy(part.meter_id, part.opens, part.closes, state.complete_before) AS energy
    GROUP BY position
), dc AS (
    SELECT position, sum(energy.kwh) AS kwh, sum(energy.readings)::bigint AS readings,
        sum(energy.kwh) FILTER (WHERE part.assigned) AS kwh_assigned,
        (sum(energy.readings) FILTER (WHERE part.assigned))::bigint AS readings_assigned,
        sum(energy.kwh) FILTER (WHERE part.compared) AS kwh_compared,
        (sum(energy.readings) FILTER (WHERE part.compared))::bigint AS readings_compared,
        sum(energy.battery_temp_sum) / nullif(sum(energy.readings), 0) AS battery_temp,
        max(energy.battery_temp_max) AS battery_temp_max,
        min(energy.soc_min) AS soc_min, max(energy.soc_max) AS soc_max
    FROM (
        SELECT position, vehicle_id, opens, closes, true AS assigned, compared FROM compared
        UNION ALL
        SELECT position, vehicle_id, opens, closes, false, false FROM unassigned
    ) AS part
    CROSS JOIN state
    CROSS JOIN LATERAL vehicle_energy(part.vehicle_id, part.opens, part.closes, state.complete_before) AS energy
    GROUP BY position
)
SELECT
    requested.vehicle_id, requested.opens, requested.closes,
    ac.seconds AS assigned_seconds,
    coalesce(ac.kwh, 0) AS ac_kwh,
    coalesce(ac.readings, 0) AS ac_points,
    coalesce(dc.kwh, 0) AS dc_kwh,
    coalesce(dc.readings, 0) AS dc_points,
    coalesce(dc.kwh_assigned, 0) AS dc_kwh_assigned,
    coalesce(dc.readings_assigned, 0) AS dc_points_assigned,
    coalesce(ac.kwh_compared, 0) AS ac_kwh_compared,
    coalesce(ac.readings_compared, 0) AS ac_points_compared,
    coalesce(dc.kwh_compared, 0) AS dc_kwh_compared,
    coalesce(dc.readings_compared, 0) AS dc_points_compared,
    dc.battery_temp::double precision AS average_battery_temp,
    dc.battery_temp_max, dc.soc_min, dc.soc_max
FROM requested LEFT JOIN ac USING (position) LEFT JOIN dc USING (position)
ORDER BY position;

-- name: known_vehicles(vehicle_ids)
-- Those of the given vehicles that have a reading or an assignment, with the time of the newest reading.
SELECT requested.vehicle_id, live.recorded_at
FROM unnest(:vehicle_ids::text[]) AS requested (vehicle_id)
LEFT JOIN vehicle_live_status AS live ON live.vehicle_id = requested.vehicle_id
WHERE live.vehicle_id IS NOT NULL
    OR EXISTS (SELECT FROM vehicle_meter_assignments AS assignment WHERE assignment.vehicle_id = requested.vehicle_id);
