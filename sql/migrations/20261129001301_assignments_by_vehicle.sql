-- migrate:up transaction:false
-- vehicle_meter_assignments_of_vehicle has taken its place.
DROP INDEX CONCURRENTLY IF EXISTS vehicle_meter_assignments_by_vehicle;

-- migrate:down
CREATE INDEX IF NOT EXISTS vehicle_meter_assignments_by_vehicle ON vehicle_meter_assignments (vehicle_id);
