-- migrate:up transaction:false
CREATE INDEX CONCURRENTLY vehicle_efficiency_by_efficiency ON vehicle_efficiency (status, efficiency_step, vehicle_id);

-- migrate:down transaction:false
DROP INDEX CONCURRENTLY vehicle_efficiency_by_efficiency;
