-- migrate:up
-- The key of a dead letter includes the incarnation of the log: a topic that is made anew has the same offsets again.
ALTER TABLE dead_letters
    DROP CONSTRAINT dead_letters_pkey,
    ADD CONSTRAINT dead_letters_pkey PRIMARY KEY USING INDEX dead_letters_by_incarnation;

-- migrate:down
ALTER TABLE dead_letters
    DROP CONSTRAINT dead_letters_pkey,
    ADD CONSTRAINT dead_letters_pkey PRIMARY KEY (consumer_group, topic, partition, "offset");
CREATE UNIQUE INDEX dead_letters_by_incarnation
    ON dead_letters (consumer_group, topic, partition, "offset", incarnation); -- as the migration before has left it
