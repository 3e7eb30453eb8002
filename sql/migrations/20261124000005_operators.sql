-- migrate:up
-- Operators' decisions on dead letters: replayed (its reading has been written or counted as a duplicate) or discarded.
ALTER TABLE dead_letters
    ADD COLUMN resolution text CHECK (resolution IN ('replayed', 'discarded')),
    ADD CONSTRAINT resolved_somehow CHECK ((resolved_at IS NULL) = (resolution IS NULL));
CREATE INDEX dead_letters_unresolved ON dead_letters (topic, reason) WHERE resolved_at IS NULL;

-- Numbers of rows that retention has deleted, so that the ledger can still be compared with the stored rows.
CREATE TABLE retired_records (
    topic text PRIMARY KEY,
    dead_letters bigint NOT NULL DEFAULT 0
);

-- Circuit breakers of topics. `open`: the topic is not consumed, because too large a share of its records was rejected.
-- `letting_through`: an operator has decided to dead-letter the rejected records; ends by itself when the share is low again.
CREATE TABLE topic_breakers (
    consumer_group text NOT NULL,
    topic text NOT NULL,
    state text NOT NULL CHECK (state IN ('open', 'letting_through')),
    detail text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer_group, topic)
);

-- Offsets that an operator has moved by hand, with the reason.
CREATE TABLE offset_decisions (
    consumer_group text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    decided_at timestamptz NOT NULL DEFAULT now(),
    decided_by text NOT NULL DEFAULT session_user,
    from_offset bigint NOT NULL,
    to_offset bigint NOT NULL,
    reason text NOT NULL
);

GRANT SELECT, INSERT, UPDATE, DELETE ON topic_breakers TO energy_writer;
GRANT SELECT ON topic_breakers, offset_decisions, retired_records TO energy_reader;
GRANT SELECT (consumer_group, topic, partition, "offset", reason, rejected_at, resolved_at, resolution) ON dead_letters TO energy_reader;

-- migrate:down
DROP TABLE offset_decisions, topic_breakers, retired_records;
REVOKE SELECT (consumer_group, topic, partition, "offset", reason, rejected_at, resolved_at) ON dead_letters FROM energy_reader;
ALTER TABLE dead_letters DROP COLUMN resolution;
DROP INDEX dead_letters_unresolved;
