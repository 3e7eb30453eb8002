-- migrate:up
-- The evaluation of the fleet reads the assignments of a batch of vehicles from this index alone. Without the further columns, the
-- planner may choose the GiST index of the constraint one_meter_at_a_time, in which finding a vehicle takes many times as long.
CREATE INDEX IF NOT EXISTS vehicle_meter_assignments_of_vehicle
    ON vehicle_meter_assignments (vehicle_id) INCLUDE (meter_id, valid_during);

-- migrate:down
DROP INDEX IF EXISTS vehicle_meter_assignments_of_vehicle;
