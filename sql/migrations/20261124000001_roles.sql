-- migrate:up
-- Group roles without login. Whoever runs the migrations owns the schema (the migrator); an administrator grants one of
-- these two to each login of a consumer (energy_writer) or of the read service (energy_reader).
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['energy_writer', 'energy_reader'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
            EXCEPTION
                WHEN duplicate_object OR unique_violation THEN NULL; -- another database of this server is being migrated
                WHEN insufficient_privilege THEN
                    RAISE EXCEPTION 'role % does not exist and % may not create it', wanted, current_user
                        USING HINT = format('let an administrator run: CREATE ROLE %I NOLOGIN', wanted),
                              ERRCODE = 'insufficient_privilege';
            END;
        END IF;
    END LOOP;
END
$$;

-- migrate:down
-- Roles belong to the whole server and may be used by other databases: they stay.
