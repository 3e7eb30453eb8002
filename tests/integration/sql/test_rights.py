"""What each role may do, object by object: a table or function without a decision here fails."""

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

# Table -> (what the writer may, what the reader may): s(elect) i(nsert) u(pdate) d(elete); [of some columns]
TABLES = {
    "alert_outbox": ("s[u]", ""),
    "assignment_declarations": ("si", "s"),
    "dead_letters": ("i", "[s]"),
    "efficiency_faults": ("", "s"),
    "kafka_offsets": ("siu", "s"),
    "late_hours": ("i", "s"),
    "maintenance_runs": ("", ""),
    "meter_energy_hourly": ("", "s"),
    "meter_live_status": ("siu", "s"),
    "meter_register_history": ("si", "s"),
    "meter_telemetry_history": ("si", "s"),
    "offset_decisions": ("", "s"),
    "packed_indexes": ("", ""),
    "retired_months": ("", ""),
    "retired_records": ("", "s"),
    "rollup_state": ("s", "s"),
    "schema_migrations": ("", ""),
    "topic_breakers": ("siud", "s"),
    "vehicle_efficiency": ("", "s"),
    "vehicle_energy_hourly": ("", "s"),
    "vehicle_live_status": ("siu", "s"),
    "vehicle_meter_assignments": ("siud", "s"),
    "vehicle_telemetry_history": ("si", "s"),
    "vehicle_trends": ("", "s"),
}
# function -> whether the writer may call it, whether the reader may
FUNCTIONS = {
    "contents_of": (False, False),
    "declare_assignments": (True, False),
    "derive_intervals": (True, False),
    "ensure_history_partitions": (False, False),
    "first_whole_hour": (False, True),
    "hold_late_before": (True, False),
    "last_whole_hour": (False, True),
    "meter_energy": (False, True),
    "next_assignment": (True, False),
    "next_register": (False, False),
    "vehicle_energy": (False, True),
    "walk_registers": (False, False),
}
# (role, table) -> column -> rights beyond those of the table; whatever stands as [ ] above is spelled out here
_SEEN_OF_A_LETTER = (
    "consumer_group",
    "topic",
    "partition",
    "offset",
    "reason",
    "rejected_at",
    "resolved_at",
    "resolution",
)
COLUMNS = {
    ("reader", "dead_letters"): dict.fromkeys(_SEEN_OF_A_LETTER, "s"),
    ("writer", "alert_outbox"): {"published_at": "u"},
}
RIGHTS = {"s": "SELECT", "i": "INSERT", "u": "UPDATE", "d": "DELETE"}
OURS = "NOT EXISTS (SELECT FROM pg_depend WHERE objid = {}.oid AND deptype = 'e')"


@pytest.fixture(scope="module")
def migrated(stack: Servers) -> Iterator[Database]:
    """Migrated in place: the rights of a database itself are not copied from a template."""
    if stack.postgres is None:
        pytest.skip("the logins of least privilege are those of the server from packages")
    with new_database(stack, f"energy_rights_{os.getpid()}_{next(_numbers)}") as made:
        asyncio.run(migrate(SqlSettings(database_url=SecretStr(made.migrator_url))))
        yield made


async def test_every_table_has_its_rights_and_no_more(migrated: Database) -> None:
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
    for right in ("TRUNCATE", "REFERENCES", "TRIGGER", "MAINTAIN"):
        assert not await database.value("SELECT has_table_privilege($1, $2::oid, $3)", role, table, right), right
    return letters


async def test_columns_have_their_rights_and_no_more(migrated: Database) -> None:
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


async def test_no_sequence_can_be_reached(migrated: Database) -> None:
    """Numbers are drawn by identity columns and by functions, with the rights of the owner."""
    found = await migrated.fetch(
        "SELECT role, relname FROM pg_class, unnest(ARRAY['writer', 'reader']) AS role "
        "WHERE relnamespace = 'public'::regnamespace AND relkind = 'S' "
        "AND has_sequence_privilege(role, pg_class.oid, 'USAGE, SELECT, UPDATE')"
    )
    assert [tuple(row) for row in found] == []
    assert await migrated.value(
        "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'S'"
    )


async def test_no_partition_has_rights_of_its_own(migrated: Database) -> None:
    """A table is reached through its parent; a partition by its own name is the owner's alone."""
    reached = await migrated.fetch(
        "SELECT relname FROM pg_class, unnest(ARRAY['writer', 'reader']) AS role "
        "WHERE relispartition AND relkind = 'r' AND has_table_privilege(role, pg_class.oid, 'SELECT, INSERT, UPDATE, DELETE')"
    )
    assert reached == []


async def test_every_function_is_for_those_who_call_it(migrated: Database) -> None:
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
async def test_neither_role_may(migrated: Database, role: str, forbidden: str) -> None:
    await _refused(migrated.writer_url if role == "writer" else migrated.reader_url, forbidden)


@pytest.mark.parametrize("table", [name for name in TABLES if name != "schema_migrations"])
async def test_a_reader_cannot_write_whatever_it_sets(migrated: Database, table: str) -> None:
    await _refused(migrated.reader_url, f"SET default_transaction_read_only = off; DELETE FROM {table}")


async def _refused(url: str, statement: str) -> None:
    connection: Any = await asyncpg.connect(url)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture
def stranger(migrated: Database, stack: Servers) -> Iterator[str]:
    """The address of a login without any role: what it may do is what PUBLIC may."""
    if stack.postgres is None:
        pytest.skip("only an administrator makes logins")
    name, administrator = f"stranger_{os.getpid()}_{next(_numbers)}", stack.postgres.url("postgres", "postgres")
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
async def test_public_may_not(migrated: Database, stranger: str, forbidden: str) -> None:
    await migrated.execute("CREATE OR REPLACE FUNCTION of_tomorrow() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    try:
        await _refused(stranger, forbidden)
    finally:
        await migrated.execute("DROP FUNCTION of_tomorrow")


async def test_no_function_of_ours_is_for_public(migrated: Database, stranger: str) -> None:
    """Functions of extensions stay open, as everywhere; so does coming in, to a database in which nothing can be seen."""
    callable_by_all = await migrated.fetch(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace "
        f"AND has_function_privilege('public', oid, 'EXECUTE') AND {OURS.format('pg_proc')}"
    )
    assert callable_by_all == []
    await _administer(stranger, "SELECT 1")
