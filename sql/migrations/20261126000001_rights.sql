-- migrate:up
-- The roles are granted what they need by name. This revokes from PUBLIC (every login of the server) what it has in a new database
-- and does not need: temporary tables, objects in the schema, and our functions. PUBLIC may still connect, look up names in the
-- schema and call functions of extensions. Each REVOKE is tried separately, because it fails where an administrator is the owner.
DO $$
BEGIN
    EXECUTE format('REVOKE CREATE, TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
EXCEPTION
    WHEN insufficient_privilege THEN NULL; -- not our database: `python -m sql migrate` says what is left
END
$$;
DO $$
BEGIN
    REVOKE CREATE ON SCHEMA public FROM PUBLIC;
EXCEPTION
    WHEN insufficient_privilege THEN NULL; -- since PostgreSQL 15 nobody has it in a new database
END
$$;
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC; -- functions to come

-- The functions of queries are for the reader only; the writer may call the functions that it needs for writing.
REVOKE EXECUTE ON FUNCTION
    first_whole_hour, last_whole_hour, meter_energy, vehicle_energy, hold_late_before, next_register, walk_registers
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION first_whole_hour, last_whole_hour, meter_energy, vehicle_energy TO energy_reader;
GRANT EXECUTE ON FUNCTION hold_late_before TO energy_writer;
GRANT USAGE ON SCHEMA public TO energy_writer, energy_reader;

-- migrate:down
ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO PUBLIC;
REVOKE USAGE ON SCHEMA public FROM energy_writer, energy_reader;
REVOKE EXECUTE ON FUNCTION hold_late_before FROM energy_writer;
REVOKE EXECUTE ON FUNCTION first_whole_hour, last_whole_hour, meter_energy, vehicle_energy FROM energy_reader;
GRANT EXECUTE ON FUNCTION
    first_whole_hour, last_whole_hour, meter_energy, vehicle_energy, hold_late_before, next_register, walk_registers
    TO PUBLIC;
DO $$
BEGIN
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO PUBLIC', current_database());
EXCEPTION
    WHEN insufficient_privilege THEN NULL;
END
$$;
