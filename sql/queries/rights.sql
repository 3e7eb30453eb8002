-- name: public_privileges()^
-- Privileges that every login of the server has in this database.
SELECT has_database_privilege('public', current_database(), 'TEMPORARY') AS temporary_tables;
