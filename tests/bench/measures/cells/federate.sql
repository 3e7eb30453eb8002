-- Makes the tables of a cell readable as those of the schema {cell}.
CREATE EXTENSION IF NOT EXISTS postgres_fdw;
CREATE SERVER {cell} FOREIGN DATA WRAPPER postgres_fdw
    OPTIONS (host '{host}', port '{port}', dbname '{database}', async_capable 'true', use_remote_estimate 'true');
CREATE USER MAPPING FOR PUBLIC SERVER {cell} OPTIONS (user '{user}', password '{password}');
CREATE SCHEMA {cell};
IMPORT FOREIGN SCHEMA public LIMIT TO (vehicle_efficiency, vehicle_live_status) FROM SERVER {cell} INTO {cell};
