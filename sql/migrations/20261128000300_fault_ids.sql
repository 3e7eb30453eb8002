-- migrate:up
-- Numbers of faults leave the database (faultId in events and answers). A sequence that goes back with a restored database, or with a
-- standby that had not received all of it, would give the same numbers to other faults. The number is therefore the time in
-- microseconds, which JSON represents exactly until the year 2255, and always greater than all stored ones.
CREATE FUNCTION next_fault_id() RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT greatest(
        (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
        (SELECT coalesce(max(fault_id), 0) + 1 FROM efficiency_faults)
    )
$$;
REVOKE EXECUTE ON FUNCTION next_fault_id FROM PUBLIC;

ALTER TABLE efficiency_faults ALTER COLUMN fault_id DROP IDENTITY;
ALTER TABLE efficiency_faults ALTER COLUMN fault_id SET DEFAULT next_fault_id();

-- migrate:down
ALTER TABLE efficiency_faults ALTER COLUMN fault_id DROP DEFAULT;
ALTER TABLE efficiency_faults ALTER COLUMN fault_id ADD GENERATED ALWAYS AS IDENTITY;
SELECT setval(pg_get_serial_sequence('efficiency_faults', 'fault_id'), max(fault_id)) FROM efficiency_faults HAVING count(*) > 0;
DROP FUNCTION next_fault_id;
