-- migrate:up
-- Energy of the assigned time up to the older of both sides' newest readings, which the ratio is made of. NULL: evaluated before.
ALTER TABLE vehicle_efficiency ADD COLUMN ac_kwh_compared double precision;
ALTER TABLE vehicle_efficiency ADD COLUMN dc_kwh_compared double precision;

-- migrate:down
ALTER TABLE vehicle_efficiency DROP COLUMN dc_kwh_compared;
ALTER TABLE vehicle_efficiency DROP COLUMN ac_kwh_compared;
