-- migrate:up transaction:false
-- A page of open faults, newest first: without it, all faults newer than the last of the page are read, most of which are closed.
CREATE INDEX CONCURRENTLY efficiency_faults_open ON efficiency_faults (fault_id) WHERE closed_at IS NULL;

-- migrate:down transaction:false
DROP INDEX CONCURRENTLY efficiency_faults_open;
