-- migrate:up
-- Which meter measured which vehicle, and when. A vehicle has one meter at a time, and a meter one vehicle.
CREATE EXTENSION IF NOT EXISTS btree_gist;

CREATE TABLE vehicle_meter_assignments (
    vehicle_id text COLLATE "C" NOT NULL CHECK (octet_length(vehicle_id) BETWEEN 1 AND 64),
    meter_id text COLLATE "C" NOT NULL CHECK (octet_length(meter_id) BETWEEN 1 AND 64),
    valid_during tstzrange NOT NULL
        CHECK (NOT isempty(valid_during) AND lower_inc(valid_during) AND NOT lower_inf(valid_during) AND NOT upper_inc(valid_during)),
    source text NOT NULL,
    CONSTRAINT one_meter_at_a_time EXCLUDE USING gist (vehicle_id WITH =, valid_during WITH &&),
    CONSTRAINT one_vehicle_at_a_time EXCLUDE USING gist (meter_id WITH =, valid_during WITH &&)
);

GRANT SELECT ON vehicle_meter_assignments TO energy_reader;

-- migrate:down
DROP TABLE vehicle_meter_assignments;
