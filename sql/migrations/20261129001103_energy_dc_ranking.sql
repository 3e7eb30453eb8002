-- migrate:up transaction:false
CREATE INDEX CONCURRENTLY vehicle_efficiency_by_energy_dc ON vehicle_efficiency (status, energy_dc_step, vehicle_id);

-- migrate:down transaction:false
DROP INDEX CONCURRENTLY vehicle_efficiency_by_energy_dc;
