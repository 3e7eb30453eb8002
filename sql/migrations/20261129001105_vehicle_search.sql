-- migrate:up
-- The ids of vehicle_efficiency, for searches by a part of an id. Updates of an evaluation do not touch this index.
CREATE TABLE vehicle_search (vehicle_id text COLLATE "C" PRIMARY KEY);
CREATE INDEX vehicle_search_parts ON vehicle_search USING gin (lower(vehicle_id) gin_trgm_ops) WITH (gin_pending_list_limit = 256);

CREATE FUNCTION add_to_vehicle_search() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO vehicle_search SELECT vehicle_id FROM added ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;
CREATE FUNCTION remove_from_vehicle_search() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM vehicle_search USING removed WHERE vehicle_search.vehicle_id = removed.vehicle_id;
    RETURN NULL;
END
$$;
CREATE TRIGGER add_to_search AFTER INSERT ON vehicle_efficiency REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION add_to_vehicle_search();
CREATE TRIGGER remove_from_search AFTER DELETE ON vehicle_efficiency REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION remove_from_vehicle_search();
INSERT INTO vehicle_search SELECT vehicle_id FROM vehicle_efficiency;

GRANT SELECT ON vehicle_search TO energy_reader;

-- migrate:down
DROP TRIGGER remove_from_search ON vehicle_efficiency;
DROP TRIGGER add_to_search ON vehicle_efficiency;
DROP FUNCTION remove_from_vehicle_search, add_to_vehicle_search;
DROP TABLE vehicle_search;
