-- migrate:up transaction:false
CREATE INDEX CONCURRENTLY dead_letters_resolved ON dead_letters (resolved_at) WHERE resolved_at IS NOT NULL;

-- migrate:down transaction:false
DROP INDEX CONCURRENTLY IF EXISTS dead_letters_resolved;
