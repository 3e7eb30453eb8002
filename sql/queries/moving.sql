-- name: cell_identity()^
-- Identifies a database and the version of its schema.
SELECT system_identifier::text || '/' || current_database() AS identity, (SELECT max(version) FROM schema_migrations) AS version
FROM pg_control_system();

-- name: try_lock_moving()^
-- Whether this session may move devices from or to this database; the lock is held until the session ends.
SELECT pg_try_advisory_lock(hashtext('energy.moving')) AS acquired;

-- name: keep_watermarks()^
-- Until `release_watermarks`, no watermark of this database moves and no late reading is merged. Held by the session, because a
-- transaction that waits for it would see the rows as they were before.
SELECT pg_advisory_lock_shared(hashtext('energy.late_before'))::text AS late_before,
    pg_advisory_lock_shared(hashtext('energy.merging'))::text AS merging;

-- name: release_watermarks()^
SELECT pg_advisory_unlock_shared(hashtext('energy.late_before')) AS late_before,
    pg_advisory_unlock_shared(hashtext('energy.merging')) AS merging;

-- name: watermarks()^
-- The watermarks of the levels of history, from 1970 on, and the first day that is not folded. `is_folding`: a day is being folded.
SELECT greatest(late_before, 'epoch') AS late_before, greatest(folding_before, 'epoch') AS folding_before,
    greatest(folded_before, 'epoch') AS folded_before,
    (greatest(folded_before, 'epoch') AT TIME ZONE 'UTC')::date AS first_day,
    folding_before > folded_before AS is_folding
FROM rollup_state;

-- name: vehicles_between(first, last)
SELECT DISTINCT device FROM (
    SELECT vehicle_id AS device FROM vehicle_live_status WHERE vehicle_id >= :first AND vehicle_id <= :last
    UNION ALL SELECT vehicle_id FROM vehicle_meter_assignments WHERE vehicle_id >= :first AND vehicle_id <= :last
) AS found;

-- name: meters_between(first, last)
SELECT DISTINCT device FROM (
    SELECT meter_id AS device FROM meter_live_status WHERE meter_id >= :first AND meter_id <= :last
    UNION ALL SELECT meter_id FROM vehicle_meter_assignments WHERE meter_id >= :first AND meter_id <= :last
) AS found;

-- name: vehicles_here(vehicle_ids)
-- Those of the given vehicles that this database knows.
SELECT device FROM unnest(:vehicle_ids::text[]) AS device
WHERE EXISTS (SELECT FROM vehicle_live_status WHERE vehicle_id = device)
    OR EXISTS (SELECT FROM vehicle_meter_assignments WHERE vehicle_id = device);

-- name: meters_here(meter_ids)
SELECT device FROM unnest(:meter_ids::text[]) AS device
WHERE EXISTS (SELECT FROM meter_live_status WHERE meter_id = device)
    OR EXISTS (SELECT FROM vehicle_meter_assignments WHERE meter_id = device);

-- name: assigned_to(vehicle_ids, meter_ids)
-- All assignments of these vehicles and of these meters, past and present.
SELECT DISTINCT vehicle_id, meter_id FROM vehicle_meter_assignments
WHERE vehicle_id = ANY(:vehicle_ids::text[]) OR meter_id = ANY(:meter_ids::text[]);

-- name: record_moved(history, readings)!
INSERT INTO moved_readings (history, readings) SELECT :history, :readings WHERE :readings::bigint <> 0;

-- name: state_columns(table)
-- The columns of a table that can be written.
SELECT attname AS name FROM pg_attribute
WHERE attrelid = :table::text::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '' AND attidentity = ''
ORDER BY attnum;

-- name: take_vehicle_status()!
INSERT INTO vehicle_live_status AS live SELECT * FROM arriving_vehicle_live_status
ON CONFLICT (vehicle_id) DO UPDATE SET soc = excluded.soc, last_kwh_delivered_dc = excluded.last_kwh_delivered_dc,
    last_battery_temp = excluded.last_battery_temp, recorded_at = excluded.recorded_at, updated_at = excluded.updated_at
WHERE excluded.recorded_at > live.recorded_at;

-- name: take_meter_status()!
INSERT INTO meter_live_status AS live SELECT * FROM arriving_meter_live_status
ON CONFLICT (meter_id) DO UPDATE SET last_kwh_consumed_ac = excluded.last_kwh_consumed_ac, last_voltage = excluded.last_voltage,
    recorded_at = excluded.recorded_at, updated_at = excluded.updated_at
WHERE excluded.recorded_at > live.recorded_at;

-- name: take_evaluations()!
INSERT INTO vehicle_efficiency (
    vehicle_id, window_end, assigned_seconds, ac_kwh, dc_kwh, dc_kwh_assigned, ac_points, dc_points, dc_points_assigned,
    average_battery_temp, ratio, ac_coverage, dc_coverage, status, reason, faulty_in_a_row, sound_in_a_row, ac_kwh_compared,
    dc_kwh_compared
)
SELECT vehicle_id, window_end, assigned_seconds, ac_kwh, dc_kwh, dc_kwh_assigned, ac_points, dc_points, dc_points_assigned,
    average_battery_temp, ratio, ac_coverage, dc_coverage, status, reason, faulty_in_a_row, sound_in_a_row, ac_kwh_compared,
    dc_kwh_compared
FROM arriving_vehicle_efficiency
ON CONFLICT DO NOTHING;

-- name: take_trends()!
INSERT INTO vehicle_trends SELECT * FROM arriving_vehicle_trends ON CONFLICT DO NOTHING;

-- name: take_faults()^
-- Stores the faults of vehicles; of two open ones of a vehicle, that of this database stays. Returns how many could not be stored,
-- because another vehicle has their id.
WITH stored AS (
    INSERT INTO efficiency_faults SELECT * FROM arriving_efficiency_faults ON CONFLICT DO NOTHING RETURNING fault_id
)
SELECT count(*) AS lost FROM arriving_efficiency_faults AS arriving
WHERE fault_id NOT IN (SELECT fault_id FROM stored)
    AND EXISTS (
        SELECT FROM efficiency_faults AS other WHERE other.fault_id = arriving.fault_id AND other.vehicle_id <> arriving.vehicle_id
    );

-- name: take_assignments()
-- Stores assignments as they are where nothing of the vehicle or the meter is in their way, and returns the other ones.
WITH stored AS (
    INSERT INTO vehicle_meter_assignments SELECT * FROM arriving_vehicle_meter_assignments
    ON CONFLICT DO NOTHING RETURNING vehicle_id, valid_during
)
SELECT vehicle_id, meter_id, lower(valid_during) AS valid_from,
    CASE WHEN NOT superseded THEN upper(valid_during) END AS valid_to
FROM arriving_vehicle_meter_assignments AS arriving
WHERE NOT EXISTS (
        SELECT FROM stored WHERE stored.vehicle_id = arriving.vehicle_id AND stored.valid_during = arriving.valid_during
    ) AND NOT EXISTS (
        SELECT FROM vehicle_meter_assignments AS present
        WHERE present.vehicle_id = arriving.vehicle_id AND present.meter_id = arriving.meter_id
            AND lower(present.valid_during) = lower(arriving.valid_during)
    )
ORDER BY lower(valid_during);

-- name: take_declarations()!
-- No record of this cell's topics has declared them, so they have another source.
INSERT INTO assignment_declarations (valid_from, valid_to, declared_at, vehicle_id, meter_id, source)
SELECT valid_from, valid_to, declared_at, vehicle_id, meter_id, 'moved:' || regexp_replace(source, '^moved:', '')
FROM arriving_assignment_declarations AS arriving
WHERE NOT EXISTS (
    SELECT FROM assignment_declarations AS present
    WHERE present.vehicle_id = arriving.vehicle_id AND present.meter_id = arriving.meter_id
        AND present.valid_from = arriving.valid_from AND present.valid_to IS NOT DISTINCT FROM arriving.valid_to
        AND present.declared_at = arriving.declared_at
)
ORDER BY declared_at, declaration_order;

-- name: forget_vehicles(vehicle_ids)!
-- Deletes all that is derived from the readings of vehicles, and their assignments; the declarations stay, because records that were
-- consumed have made them.
WITH live AS (
    DELETE FROM vehicle_live_status WHERE vehicle_id = ANY(:vehicle_ids::text[])
), evaluated AS (
    DELETE FROM vehicle_efficiency WHERE vehicle_id = ANY(:vehicle_ids)
), trends AS (
    DELETE FROM vehicle_trends WHERE vehicle_id = ANY(:vehicle_ids)
), faults AS (
    DELETE FROM efficiency_faults WHERE vehicle_id = ANY(:vehicle_ids)
), assigned AS (
    DELETE FROM vehicle_meter_assignments WHERE vehicle_id = ANY(:vehicle_ids)
), hours AS (
    DELETE FROM vehicle_energy_hourly WHERE vehicle_id = ANY(:vehicle_ids)
), carried AS (
    DELETE FROM vehicle_carried_sums WHERE vehicle_id = ANY(:vehicle_ids)
), leaving AS (
    DELETE FROM vehicle_leaving_hours WHERE vehicle_id = ANY(:vehicle_ids)
)
DELETE FROM late_hours WHERE side = 'vehicle' AND device_id = ANY(:vehicle_ids);

-- name: forget_meters(meter_ids)!
WITH live AS (
    DELETE FROM meter_live_status WHERE meter_id = ANY(:meter_ids::text[])
), hours AS (
    DELETE FROM meter_energy_hourly WHERE meter_id = ANY(:meter_ids)
), carried AS (
    DELETE FROM meter_carried_sums WHERE meter_id = ANY(:meter_ids)
), leaving AS (
    DELETE FROM meter_leaving_hours WHERE meter_id = ANY(:meter_ids)
)
DELETE FROM late_hours WHERE side = 'meter' AND device_id = ANY(:meter_ids);
