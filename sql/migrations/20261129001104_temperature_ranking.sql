-- migrate:up transaction:false
CREATE INDEX CONCURRENTLY vehicle_efficiency_by_temperature ON vehicle_efficiency (status, temperature_step, vehicle_id);

-- migrate:down transaction:false
DROP INDEX CONCURRENTLY vehicle_efficiency_by_temperature;
