-- migrate:up
-- The API answers from the archive where a month is no longer in the database, and says what is missing.
GRANT SELECT ON retired_months TO energy_reader;

-- migrate:down
REVOKE SELECT ON retired_months FROM energy_reader;
