-- name: vehicle_readings(vehicle_id, opens, closes, row_limit)
-- Readings of a vehicle during [opens, closes), oldest first. The page is found first, so that no more days are decoded than it needs:
-- up to the folded day that fills it, or else the row.
WITH page AS MATERIALIZED (
    SELECT least(:closes, coalesce((
        SELECT (filled.day + 1)::timestamp AT TIME ZONE 'UTC' FROM (
            SELECT day, sum(readings) OVER (ORDER BY day ROWS UNBOUNDED PRECEDING) AS total
            FROM vehicle_days
            WHERE vehicle_id = :vehicle_id AND day > utc_day(:opens) AND day < utc_day(:closes) AND day < (SELECT first_day_not_folded())
            ORDER BY day
        ) AS filled
        WHERE filled.total >= :row_limit LIMIT 1
    ), (
        SELECT recorded_at + interval '1 microsecond' FROM vehicle_telemetry_history
        WHERE vehicle_id = :vehicle_id AND recorded_at >= :opens AND recorded_at < :closes
            AND recorded_at >= (SELECT folded_before FROM rollup_state)
        ORDER BY recorded_at OFFSET :row_limit - 1 LIMIT 1
    ))) AS closes
)
SELECT recorded_at, kwh_delivered_dc, soc, battery_temp
FROM vehicle_readings
WHERE vehicle_id = :vehicle_id AND recorded_at >= :opens AND recorded_at < (SELECT closes FROM page)
    AND day >= utc_day(:opens) AND day <= (SELECT utc_day(closes - interval '1 microsecond') FROM page)
ORDER BY recorded_at LIMIT :row_limit;

-- name: meter_readings(meter_id, opens, closes, row_limit)
-- Readings of a meter during [opens, closes), oldest first; like those of a vehicle.
WITH page AS MATERIALIZED (
    SELECT least(:closes, coalesce((
        SELECT (filled.day + 1)::timestamp AT TIME ZONE 'UTC' FROM (
            SELECT day, sum(readings) OVER (ORDER BY day ROWS UNBOUNDED PRECEDING) AS total
            FROM meter_days
            WHERE meter_id = :meter_id AND day > utc_day(:opens) AND day < utc_day(:closes) AND day < (SELECT first_day_not_folded())
            ORDER BY day
        ) AS filled
        WHERE filled.total >= :row_limit LIMIT 1
    ), (
        SELECT recorded_at + interval '1 microsecond' FROM meter_telemetry_history
        WHERE meter_id = :meter_id AND recorded_at >= :opens AND recorded_at < :closes
            AND recorded_at >= (SELECT folded_before FROM rollup_state)
        ORDER BY recorded_at OFFSET :row_limit - 1 LIMIT 1
    ))) AS closes
)
SELECT recorded_at, kwh_consumed_ac, voltage
FROM meter_readings
WHERE meter_id = :meter_id AND recorded_at >= :opens AND recorded_at < (SELECT closes FROM page)
    AND day >= utc_day(:opens) AND day <= (SELECT utc_day(closes - interval '1 microsecond') FROM page)
ORDER BY recorded_at LIMIT :row_limit;

-- name: meter_energy_of(meter_ids, opens, closes)
-- Energy that meters measured, each over its own period [opens, closes): one row per period, in the order given.
WITH state AS MATERIALIZED (
    SELECT complete_before FROM rollup_state
)
SELECT requested.meter_id, requested.opens, requested.closes, coalesce(energy.kwh, 0) AS kwh, energy.readings
FROM unnest(:meter_ids::text[], :opens::timestamptz[], :closes::timestamptz[])
    WITH ORDINALITY AS requested (meter_id, opens, closes, position)
CROSS JOIN state
CROSS JOIN LATERAL meter_energy(requested.meter_id, requested.opens, requested.closes, state.complete_before) AS energy
ORDER BY requested.position;

-- name: known_meters(meter_ids)
-- Those of the given meters that have a reading or an assignment, with the time of the newest reading.
SELECT requested.meter_id, live.recorded_at
FROM unnest(:meter_ids::text[]) AS requested (meter_id)
LEFT JOIN meter_live_status AS live ON live.meter_id = requested.meter_id
WHERE live.meter_id IS NOT NULL
    OR EXISTS (SELECT FROM vehicle_meter_assignments AS assignment WHERE assignment.meter_id = requested.meter_id);
