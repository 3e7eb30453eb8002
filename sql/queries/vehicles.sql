-- name: newest_vehicle_readings(ids)
-- The newest reading of each of these vehicles: a reading newer than that cannot be stored already.
SELECT vehicle_id, recorded_at FROM vehicle_live_status WHERE vehicle_id = ANY(:ids::text[]);

-- name: insert_new_vehicle_readings(ids, times, kwhs, socs, temperatures)
-- Stores the readings whose identity (device, time) is not stored yet, and returns their identities.
INSERT INTO vehicle_telemetry_history (vehicle_id, recorded_at, kwh_delivered_dc, soc, battery_temp)
SELECT * FROM unnest(
    :ids::text[], :times::timestamptz[], :kwhs::double precision[], :socs::double precision[], :temperatures::double precision[]
)
ON CONFLICT DO NOTHING
RETURNING vehicle_id, recorded_at;

-- name: match_vehicle_readings(ids, times, kwhs, socs, temperatures)
-- For each reading, in the order given: whether its values equal those stored under its identity; NULL when none is stored.
SELECT stored.kwh_delivered_dc = given.kwh AND stored.soc = given.soc AND stored.battery_temp = given.temperature AS same
FROM unnest(
    :ids::text[], :times::timestamptz[], :kwhs::double precision[], :socs::double precision[], :temperatures::double precision[]
) WITH ORDINALITY AS given (vehicle_id, recorded_at, kwh, soc, temperature, position)
LEFT JOIN LATERAL (
    -- OFFSET 0 forces a lookup by key in one partition, for any number of readings
    SELECT kwh_delivered_dc, soc, battery_temp FROM vehicle_telemetry_history AS history
    WHERE history.vehicle_id = given.vehicle_id AND history.recorded_at = given.recorded_at
    OFFSET 0
) AS stored ON true
ORDER BY position;

-- name: upsert_vehicle_status(ids, times, kwhs, socs, temperatures)!
-- Live status advances only, by the device's own clock.
INSERT INTO vehicle_live_status AS live
    (vehicle_id, recorded_at, last_kwh_delivered_dc, soc, last_battery_temp, updated_at)
SELECT given.*, now()
FROM unnest(
    :ids::text[], :times::timestamptz[], :kwhs::double precision[], :socs::double precision[], :temperatures::double precision[]
) AS given
ON CONFLICT (vehicle_id) DO UPDATE
SET recorded_at = excluded.recorded_at,
    last_kwh_delivered_dc = excluded.last_kwh_delivered_dc,
    soc = excluded.soc,
    last_battery_temp = excluded.last_battery_temp,
    updated_at = excluded.updated_at
WHERE excluded.recorded_at > live.recorded_at;

-- name: vehicle_status(vehicle_id)^
SELECT vehicle_id, soc, last_kwh_delivered_dc, last_battery_temp, recorded_at, updated_at
FROM vehicle_live_status WHERE vehicle_id = :vehicle_id;

-- name: list_vehicle_status(after, row_limit)
-- One page of live status, in the order of the ids, after the given id.
SELECT vehicle_id, soc, last_kwh_delivered_dc, last_battery_temp, recorded_at, updated_at
FROM vehicle_live_status WHERE vehicle_id > :after ORDER BY vehicle_id LIMIT :row_limit;
