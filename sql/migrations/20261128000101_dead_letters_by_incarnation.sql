-- migrate:up transaction:false
CREATE UNIQUE INDEX CONCURRENTLY dead_letters_by_incarnation
    ON dead_letters (consumer_group, topic, partition, "offset", incarnation);

-- migrate:down transaction:false
DROP INDEX CONCURRENTLY IF EXISTS dead_letters_by_incarnation;
