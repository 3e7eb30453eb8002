#!/usr/bin/env bash
# Creates the roles, the logins and the database. The PostgreSQL image runs it once, when its volume is new. The local stack uses the
# same deploy/stack/roles.sql. Passwords are read from files and passed to the server as settings of the session.
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
