"""Privileges of each role, object by object: a table or function that is not listed here fails the test."""

import asyncio
import itertools
import os
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest
from pydantic import SecretStr

from deploy.stack.servers import Servers
from sql.migrate import migrate
from sql.settings import SqlSettings
from tests.support.database import Database, new_database

pytestmark = pytest.mark.anyio
_numbers = itertools.count(1)

# Table -> (privileges of the writer, of the reader): s(elect) i(nsert) u(pdate) d(elete); [on some columns]
TABLES = {
    "alert_outbox": ("s[u]", ""),
    "assignment_declarations": ("si", "s"),
    "assignment_positions": ("siu", ""),
    "changed_hours": ("", "s"),
    "dead_letters": ("[s]i", "[s]"),
    "device_totals": ("", "s"),
    "evaluation_round": ("", ""),
    "efficiency_faults": ("", "s"),
    "evaluation_totals": ("", "s"),
    "kafka_offsets": ("siu", "s"),
    "late_hours": ("i", "s"),
    "maintenance_runs": ("", ""),
    "meter_carried_sums": ("", ""),
    "meter_days": ("s", "s"),
    "meter_energy_hourly": ("", "s"),
    "meter_hours": ("", "s"),
    "meter_late_readings": ("si", "s"),
    "meter_leaving_hours": ("", ""),
    "meter_live_status": ("siu", "s"),
    "meter_readings": ("s", "s"),
    "meter_register_history": ("si", "s"),
    "meter_telemetry_history": ("si", "s"),
    "moved_readings": ("", "s"),
    "offset_decisions": ("", "s"),
    "packed_indexes": ("", ""),
    "register_days": ("s", "s"),
    "register_late_readings": ("si", "s"),
    "register_readings": ("s", "s"),
    "retired_months": ("", "s"),
    "retired_records": ("", "s"),
    "rollup_state": ("s", "s"),
    "schema_migrations": ("", ""),
    "topic_breakers": ("siud", "s"),
    "vehicle_carried_sums": ("", ""),
    "vehicle_days": ("s", "s"),
    "vehicle_efficiency": ("", "s"),
    "vehicle_energy_hourly": ("", "s"),
    "vehicle_hours": ("", "s"),
    "vehicle_late_readings": ("si", "s"),
    "vehicle_leaving_hours": ("", ""),
    "vehicle_live_status": ("siu", "s"),
    "vehicle_meter_assignments": ("siud", "s"),
    "vehicle_readings": ("s", "s"),
    "vehicle_search": ("", "s"),
    "vehicle_telemetry_history": ("si", "s"),
    "vehicle_trends": ("", "s"),
}
VIEWS = {
    "changed_hours",
    "meter_hours",
    "meter_readings",
    "register_readings",
    "vehicle_hours",
    "vehicle_readings",
}  # which nobody can write to
# function -> (the writer may call it, the reader may call it)
FUNCTIONS = {
    "are_kept": (True, True),
    "create_history_partition": (False, False),
    "narrow_history_partition": (False, False),
    "add_to_vehicle_search": (False, False),
    "around_whole_hours": (False, True),
    "utc_day": (False, True),
    "whole_hours": (False, True),
    "are_integers_over": (False, False),
    "contents_of": (False, False),
    "carried_energy_of": (False, False),
    "count_vehicles": (False, True),
    "declare_assignments": (True, False),
    "decode_instants": (True, True),
    "decode_series": (True, True),
    "deliverable_kwh": (False, False),
    "derive_intervals": (True, False),
    "encode_instants": (False, False),
    "encode_series": (False, False),
    "ensure_history_partitions": (False, False),
    "exact_milliseconds": (False, False),
    "first_day_not_folded": (True, True),
    "first_whole_hour": (False, True),
    "fold_meter_day": (False, False),
    "fold_register_day": (False, False),
    "fold_vehicle_day": (False, False),
    "hold_late_before": (True, False),
    "hold_merging": (True, False),
    "hold_watermarks": (True, False),
    "keep_halted_offset": (False, False),
    "last_whole_hour": (False, True),
    "meter_energy": (False, True),
    "meter_readings_during": (False, True),
    "next_assignment": (True, False),
    "next_fault_id": (False, False),
    "next_register": (False, False),
    "positions_during": (False, True),
    "ranked_vehicles": (False, True),
    "registers_before": (False, False),
    "remove_from_vehicle_search": (False, False),
    "search_pattern": (False, True),
    "sum_evaluations": (False, True),
    "vehicle_energy": (False, True),
    "vehicle_readings_during": (False, True),
    "vehicles_matching": (False, True),
    "walk_registers": (False, False),
    "whole_milliseconds": (False, False),
}
# (role, table) -> column -> privileges beyond those of the table; spells out the [ ] above
_READABLE_COLUMNS_OF_DEAD_LETTERS = (
    "consumer_group",
    "topic",
    "partition",
    "offset",
    "reason",
    "rejected_at",
    "resolved_at",
    "resolution",
    "incarnation",
)
# INSERT ... ON CONFLICT DO NOTHING RETURNING reads them
_KEY_OF_DEAD_LETTERS = ("consumer_group", "topic", "partition", "offset", "incarnation")
COLUMNS = {
    ("reader", "dead_letters"): dict.fromkeys(_READABLE_COLUMNS_OF_DEAD_LETTERS, "s"),
    ("writer", "alert_outbox"): {"published_at": "u"},
    ("writer", "dead_letters"): dict.fromkeys(_KEY_OF_DEAD_LETTERS, "s"),
}
RIGHTS = {"s": "SELECT", "i": "INSERT", "u": "UPDATE", "d": "DELETE"}
OURS = "NOT EXISTS (SELECT FROM pg_depend WHERE objid = {}.oid AND deptype = 'e')"


@pytest.fixture(scope="module")
def migrated(stack: Servers) -> Iterator[Database]:
    """Migrated in place: the privileges of a database itself are not copied from a template."""
    if stack.postgres is None:
        pytest.skip("the logins of least privilege are those of the server from packages")
    with new_database(stack, f"energy_rights_{os.getpid()}_{next(_numbers)}") as made:
        asyncio.run(migrate(SqlSettings(database_url=SecretStr(made.migrator_url))))
        yield made


async def test_every_table_has_exactly_these_privileges(migrated: Database) -> None:
    found = await migrated.fetch(
        "SELECT relname, oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f') "
        f"AND NOT relispartition AND {OURS.format('pg_class')}"
    )
    decided = {}
    for row in found:
        decided[row["relname"]] = tuple([await _may(migrated, role, row["oid"]) for role in ("writer", "reader")])
    assert decided == TABLES


async def _may(database: Database, role: str, table: int) -> str:
    letters = ""
    for letter, right in RIGHTS.items():
        if await database.value("SELECT has_table_privilege($1, $2::oid, $3)", role, table, right):
            letters += letter
        elif right != "DELETE" and await database.value(
            "SELECT has_any_column_privilege($1, $2::oid, $3)", role, table, right
        ):
            letters += f"[{letter}]"
    assert database.stack.postgres is not None
    since_17 = ["MAINTAIN"] if database.stack.postgres.version >= 17 else []
    for right in ("TRUNCATE", "REFERENCES", "TRIGGER", *since_17):
        assert not await database.value("SELECT has_table_privilege($1, $2::oid, $3)", role, table, right), right
    return letters


async def test_columns_have_exactly_these_privileges(migrated: Database) -> None:
    found = await migrated.fetch(
        "SELECT role, relname, attname, string_agg(letter, '' ORDER BY place) AS letters "
        "FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped, "
        "unnest(ARRAY['writer', 'reader']) AS role, "
        "unnest($1::text[], $2::text[]) WITH ORDINALITY AS rights (letter, privilege, place) "
        "WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f') "
        f"AND NOT relispartition AND {OURS.format('pg_class')} "
        "AND has_column_privilege(role, pg_class.oid, attnum, privilege) "
        "AND NOT has_table_privilege(role, pg_class.oid, privilege) "
        "GROUP BY 1, 2, 3",
        [*"siur"],
        ["SELECT", "INSERT", "UPDATE", "REFERENCES"],
    )
    decided: dict[tuple[Any, Any], dict[Any, Any]] = {}
    for row in found:
        decided.setdefault((row["role"], row["relname"]), {})[row["attname"]] = row["letters"]
    assert decided == COLUMNS


async def test_no_sequence_is_accessible(migrated: Database) -> None:
    """Identity columns and functions use sequences with the privileges of the owner."""
    found = await migrated.fetch(
        "SELECT role, relname FROM pg_class, unnest(ARRAY['writer', 'reader']) AS role "
        "WHERE relnamespace = 'public'::regnamespace AND relkind = 'S' "
        "AND has_sequence_privilege(role, pg_class.oid, 'USAGE, SELECT, UPDATE')"
    )
    assert [tuple(row) for row in found] == []
    assert await migrated.value(
        "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'S'"
    )


async def test_no_partition_has_privileges_of_its_own(migrated: Database) -> None:
    """Partitions are accessed through their parent; only the owner may access them by name."""
    accessible = await migrated.fetch(
        "SELECT relname FROM pg_class, unnest(ARRAY['writer', 'reader']) AS role "
        "WHERE relispartition AND relkind = 'r' AND has_table_privilege(role, pg_class.oid, 'SELECT, INSERT, UPDATE, DELETE')"
    )
    assert accessible == []


async def test_every_function_is_executable_only_by_its_callers(migrated: Database) -> None:
    found = await migrated.fetch(
        "SELECT proname, has_function_privilege('writer', oid, 'EXECUTE') AS writer, "
        "has_function_privilege('reader', oid, 'EXECUTE') AS reader "
        f"FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND {OURS.format('pg_proc')}"
    )
    assert {row["proname"]: (row["writer"], row["reader"]) for row in found} == FUNCTIONS


@pytest.mark.parametrize("role", ["writer", "reader"])
@pytest.mark.parametrize(
    "forbidden",
    [
        "CREATE TABLE mine (id int)",
        "CREATE TEMPORARY TABLE mine (id int)",
        "CREATE SCHEMA mine",
        "CREATE ROLE mine",
        "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "ALTER TABLE meter_live_status ADD COLUMN mine int",
        "DROP TABLE meter_live_status",
        "TRUNCATE meter_live_status",
        "SET ROLE migrator",
        "COPY meter_live_status TO PROGRAM 'cat'",
        "SELECT pg_read_file('postgresql.conf')",
        "SELECT value FROM dead_letters",
        "SELECT * FROM pg_authid",
    ],
)
async def test_both_roles_are_denied(migrated: Database, role: str, forbidden: str) -> None:
    await _refused(migrated.writer_url if role == "writer" else migrated.reader_url, forbidden)


@pytest.mark.parametrize("table", [name for name in TABLES if name not in {"schema_migrations", *VIEWS}])
async def test_a_reader_cannot_write_whatever_settings_it_changes(migrated: Database, table: str) -> None:
    await _refused(migrated.reader_url, f"SET default_transaction_read_only = off; DELETE FROM {table}")


async def _refused(url: str, statement: str) -> None:
    connection: Any = await asyncpg.connect(url)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture
def login_without_roles(migrated: Database, stack: Servers) -> Iterator[str]:
    """The URL of a login without any role: it has the privileges of PUBLIC."""
    if stack.postgres is None:
        pytest.skip("creating logins needs a superuser")
    name, administrator = f"login_{os.getpid()}_{next(_numbers)}", stack.postgres.url("postgres", "postgres")
    asyncio.run(_administer(administrator, f"CREATE ROLE {name} LOGIN PASSWORD 'of-nobody'"))
    yield (
        stack.postgres.url("writer", migrated.name)
        .replace("writer:", f"{name}:")
        .replace(stack.postgres.url("writer").split("@")[0].rpartition(":")[2], "of-nobody")
    )
    asyncio.run(_administer(administrator, f"DROP ROLE {name}"))


async def _administer(url: str, statement: str) -> None:
    connection: Any = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.mark.parametrize(
    "forbidden",
    [
        "CREATE TEMPORARY TABLE mine (id int)",
        "CREATE TABLE public.mine (id int)",
        "CREATE SCHEMA mine",
        "SELECT meter_id FROM meter_live_status",
        "SELECT hold_late_before()",
        "SELECT first_whole_hour(now())",
        "SELECT ensure_history_partitions(now(), now())",
        "SELECT of_tomorrow()",
    ],
)
async def test_public_is_denied(migrated: Database, login_without_roles: str, forbidden: str) -> None:
    await migrated.execute("CREATE OR REPLACE FUNCTION of_tomorrow() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    try:
        await _refused(login_without_roles, forbidden)
    finally:
        await migrated.execute("DROP FUNCTION of_tomorrow")


async def test_no_function_of_the_schema_is_executable_by_public(migrated: Database, login_without_roles: str) -> None:
    """PUBLIC keeps the functions of extensions and the right to connect, but sees nothing in the database."""
    callable_by_all = await migrated.fetch(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace "
        f"AND has_function_privilege('public', oid, 'EXECUTE') AND {OURS.format('pg_proc')}"
    )
    assert callable_by_all == []
    await _administer(login_without_roles, "SELECT 1")
