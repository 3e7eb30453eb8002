-- migrate:up transaction:false
CREATE INDEX CONCURRENTLY vehicle_trends_aging ON vehicle_trends (days_until_fault, vehicle_id) WHERE status = 'aging';

-- migrate:down transaction:false
DROP INDEX CONCURRENTLY vehicle_trends_aging;
