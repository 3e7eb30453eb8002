-- migrate:up
-- Nobody has a right by being somebody: what the roles need is granted to them by name. This takes what PUBLIC has by default in this
-- database: temporary tables, objects in the schema, and to call our functions.
DO $$
BEGIN
    EXECUTE format('REVOKE CREATE, TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
    REVOKE CREATE ON SCHEMA public FROM PUBLIC;
EXCEPTION
    WHEN insufficient_privilege THEN NULL; -- not our database: `python -m sql migrate` says what is left, below is ours
END
$$;

-- Functions of queries are the reader's alone; the writer calls the three that it writes by.
REVOKE EXECUTE ON FUNCTION
    first_whole_hour, last_whole_hour, meter_energy, vehicle_energy, hold_late_before, next_register, walk_registers
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION first_whole_hour, last_whole_hour, meter_energy, vehicle_energy TO energy_reader;
GRANT EXECUTE ON FUNCTION hold_late_before TO energy_writer;
GRANT USAGE ON SCHEMA public TO energy_writer, energy_reader;

-- migrate:down
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
