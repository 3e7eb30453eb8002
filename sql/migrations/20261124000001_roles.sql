-- migrate:up
-- Group roles without login. The login that runs the migrations owns the schema (the migrator). An administrator grants
-- energy_writer to the logins of consumers, and energy_reader to those of the read service.
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
-- Roles belong to the whole server and may be in use by other databases, so they are not dropped.
