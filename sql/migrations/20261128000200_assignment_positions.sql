-- migrate:up
-- Which record of the assignment topic decided about an assignment last. A record that is read again, and one that a later record
-- of its partition has corrected, changes nothing any more.
CREATE TABLE assignment_positions (
    consumer_group text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    vehicle_id text COLLATE "C" NOT NULL,
    valid_from timestamptz NOT NULL,
    incarnation integer NOT NULL,
    "offset" bigint NOT NULL,
    PRIMARY KEY (consumer_group, topic, partition, vehicle_id, valid_from)
);
GRANT SELECT, INSERT, UPDATE ON assignment_positions TO energy_writer;

-- migrate:down
DROP TABLE assignment_positions;
