-- The devices of one cell, evaluated: numbers up to $1 whose remainder by $2 is $3; for $2 = 1 all of them.
WITH devices AS (
    SELECT number FROM generate_series(1, $1::integer) AS number WHERE number % $2::integer = $3::integer
), live AS (
    INSERT INTO vehicle_live_status (vehicle_id, recorded_at, soc, last_kwh_delivered_dc, last_battery_temp, updated_at)
    SELECT 'VEH-' || number, now(), 50, 0.2, 25, now() FROM devices
)
INSERT INTO vehicle_efficiency (
    vehicle_id, window_end, assigned_seconds, ac_kwh, dc_kwh, dc_kwh_assigned, ac_points, dc_points, dc_points_assigned,
    average_battery_temp, ratio, ac_coverage, dc_coverage, status, reason
)
SELECT 'VEH-' || number, now(), 86400, 30, 27, 27, 1440, 1440, 1440, 25, 70 + 29 * ((hashint4(number) & 65535) / 65536.0), 1, 1,
    'healthy', 'measured'
FROM devices
