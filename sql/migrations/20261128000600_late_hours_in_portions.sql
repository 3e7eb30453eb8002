-- migrate:up
-- How far an hour that is marked for all devices (an empty device_id) was refreshed, in the order of their ids.
ALTER TABLE late_hours ADD COLUMN refreshed_to text DEFAULT '' NOT NULL COLLATE "C";

-- migrate:down
ALTER TABLE late_hours DROP COLUMN refreshed_to;
