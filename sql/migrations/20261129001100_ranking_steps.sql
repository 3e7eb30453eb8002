-- migrate:up
-- A search by a part of an id is answered by trigrams.
CREATE EXTENSION IF NOT EXISTS pg_trgm;

-- The step of each value that vehicles are ranked by. The indexes of a ranking contain steps, not values: a value changes in every
-- minute and its step seldom, so nearly all updates stay heap-only. A page is read step by step, and only its own steps are sorted.
ALTER TABLE vehicle_efficiency
    ADD COLUMN efficiency_step double precision GENERATED ALWAYS AS (ceil(ratio * 10)) STORED,
    ADD COLUMN energy_ac_step double precision GENERATED ALWAYS AS (ceil(CASE WHEN assigned_seconds > 0 THEN ac_kwh END)) STORED,
    ADD COLUMN energy_dc_step double precision GENERATED ALWAYS AS (ceil(dc_kwh)) STORED,
    ADD COLUMN temperature_step double precision GENERATED ALWAYS AS (ceil(average_battery_temp * 10)) STORED;

-- migrate:down
ALTER TABLE vehicle_efficiency
    DROP COLUMN efficiency_step, DROP COLUMN energy_ac_step, DROP COLUMN energy_dc_step, DROP COLUMN temperature_step;
DROP EXTENSION pg_trgm;
