-- Run once per server by an administrator: creates the group roles of the schema and a login for each kind of process.
-- Passwords are settings of the session (energy.migrator, energy.writer, energy.reader).
DO $$
BEGIN
    CREATE ROLE energy_writer NOLOGIN;
    CREATE ROLE energy_reader NOLOGIN;
    EXECUTE format('CREATE ROLE migrator LOGIN CREATEDB PASSWORD %L', current_setting('energy.migrator'));
    EXECUTE format('CREATE ROLE writer LOGIN IN ROLE energy_writer PASSWORD %L', current_setting('energy.writer'));
    EXECUTE format('CREATE ROLE reader LOGIN IN ROLE energy_reader PASSWORD %L', current_setting('energy.reader'));
    GRANT pg_read_all_stats TO migrator;
END
$$;
