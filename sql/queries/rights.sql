-- name: rights_of_public()^
-- What every login of the server may do in this database.
SELECT has_database_privilege('public', current_database(), 'TEMPORARY') AS temporary_tables;
