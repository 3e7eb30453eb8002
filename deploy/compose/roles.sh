#!/usr/bin/env bash
# Run once, by the image of PostgreSQL, when its volume is new: the roles, the logins and the database, as deploy/stack/roles.sql
# makes them for the local stack too. Passwords come from files and reach the server as settings of this session.
set -euo pipefail
secrets=${SECRETS_DIRECTORY:-/run/secrets}
roles=${ROLES_SQL:-/opt/energy/roles.sql}
options=
for login in migrator writer reader; do
    options+=" -c energy.$login=$(<"$secrets/${login}_password")"
done
PGOPTIONS=$options psql --no-psqlrc --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres \
    --file "$roles" --command 'CREATE DATABASE energy OWNER migrator' \
    --command '\connect energy' --command 'CREATE EXTENSION pg_stat_statements'
