"""Rules for migrations, which run while readings are written: nothing may lock a large table for long (docs/development.md)."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.repository import ROOT
from tests.support.repository.migrations import add_column, create_index, create_partitioned_index

MIGRATIONS: Final = ROOT / "sql" / "migrations"
# The migrations of the first version, which run on an empty database. No other migration is ever added here.
FIRST_VERSION: Final = frozenset(
    {
        "20261124000001_roles.sql",
        "20261124000002_telemetry.sql",
        "20261124000003_ledger.sql",
        "20261124000004_assignments.sql",
        "20261124000005_operators.sql",
        "20261125000001_rollups.sql",
        "20261125000002_assignment_stream.sql",
        "20261125000003_registers.sql",
        "20261125000004_faults.sql",
        "20261125000005_log_end.sql",
        "20261126000001_rights.sql",
        "20261126000002_retention.sql",
        "20261126000003_packed_indexes.sql",
    }
)
BIG: Final = (
    r"(?:only\s+)?(?:meter_telemetry_history|vehicle_telemetry_history|meter_register_history|meter_live_status|vehicle_live_status"
    r"|kafka_offsets|dead_letters|meter_energy_hourly|vehicle_energy_hourly)(?:_y\d{4}m\d{2})?\b"
)
ALTERS: Final = rf"alter\s+table\s+(?:if\s+exists\s+)?{BIG}"
ADDS: Final = rf"{ALTERS}[^;]*\badd\s+(?:column\s+)?(?:if\s+not\s+exists\s+)?\w+"
RULES: Final = {
    "index": (
        rf"create\s+(?:unique\s+)?index\s+(?!concurrently)(?:if\s+not\s+exists\s+)?(?:\w+\s+)?on\s+(?!only\b){BIG}",
        "CREATE INDEX blocks writers: use CONCURRENTLY, in a file of its own with transaction:false",
    ),
    "half-built": (
        r"create\s+(?:unique\s+)?index\s+concurrently\s+if\s+not\s+exists",
        "IF NOT EXISTS accepts the invalid index of a failed attempt",
    ),
    "drop-index": (
        r"drop\s+index\s+(?!concurrently)",
        "DROP INDEX takes an exclusive lock: use CONCURRENTLY, in a file of its own with transaction:false",
    ),
    "type": (
        rf"{ALTERS}[^;]*\balter\s+(?:column\s+)?\w+\s+(?:set\s+data\s+)?type\b",
        "a change of type rewrites the whole table: add a column, fill it in batches, then use it",
    ),
    "not-null": (
        rf"{ADDS}\s+(?!constraint)(?:(?!default)[^,;])*\bnot\s+null\b(?:(?!default)[^,;])*[,;]",
        "a new NOT NULL column needs a constant DEFAULT: consumers of the previous version do not fill it",
    ),
    "set-not-null": (
        rf"{ALTERS}[^;]*\bset\s+not\s+null\b",
        "SET NOT NULL scans the whole table under its lock: first CHECK ... NOT VALID, then VALIDATE in the next migration",
    ),
    "volatile-default": (
        rf"{ADDS}[^,;]*\bdefault\s+(?:random|clock_timestamp|gen_random)",
        "a volatile DEFAULT rewrites the whole table",
    ),
    "constraint": (
        rf"{ALTERS}[^;]*\badd\s+(?:constraint\s+\w+\s+)?(?:check|foreign\s+key)\b(?:(?!not\s+valid)[^;])*;",
        "a new constraint scans the whole table under its lock: use NOT VALID, and VALIDATE in the next migration",
    ),
    "rename": (
        rf"{ALTERS}[^;]*\b(?:rename|drop\s+column)\b",
        "consumers of the previous version still use the name: add the new one, and drop the old one a version later",
    ),
    "rewrite": (
        rf"(?:vacuum\s+full|cluster|lock\s+table)\s+{BIG}",
        "it blocks all access to the table for as long as it runs",
    ),
}


def violations(migration: str) -> Iterator[str]:
    """The rules that a migration breaks. `-- allowed: RULE: WHY` exempts it from one."""
    up = migration.partition("-- migrate:down")[0]
    allowed = set(re.findall(r"^--\s*allowed:\s*([\w-]+):\s*\S+", up, re.MULTILINE))
    statements = re.sub(r"--[^\n]*", "", up).lower()
    for rule, (form, why) in RULES.items():
        if rule not in allowed and re.search(form, statements):
            yield f"{rule}: {why}"
    concurrently = "concurrently" in statements
    if concurrently and "transaction:false" not in up:
        yield "transaction: CONCURRENTLY cannot run in a transaction: `-- migrate:up transaction:false`"
    if "transaction:false" in up and statements.count(";") > 1:
        yield "alone: without a transaction a file must hold one statement, because a partial failure is not rolled back"


def after_the_first_version(directory: Path) -> list[Path]:
    """All others, whatever their timestamps: a migration from a long-lived branch may have an earlier one."""
    return [file for file in sorted(directory.glob("*.sql")) if file.name not in FIRST_VERSION]


def test_migrations_do_not_block_writers() -> None:
    later = after_the_first_version(MIGRATIONS)
    assert {file.name: found for file in later if (found := list(violations(file.read_text())))} == {}


def test_every_migration_after_the_first_version_is_checked(tmp_path: Path) -> None:
    there = {file.name for file in MIGRATIONS.glob("*.sql")}
    assert there >= FIRST_VERSION, "every exempted file exists"
    new = {f"{stamp}_more.sql" for stamp in ("20261124000000", "20261126000004", "29990101000000")}
    for name in there | new:
        (tmp_path / name).touch()
    assert {file.name for file in after_the_first_version(tmp_path)} == there - FIRST_VERSION | new


def test_the_migrations_of_other_tests_follow_the_rules() -> None:
    parts = ["meter_telemetry_history_y2026m10", "meter_telemetry_history_y2026m11"]
    written = [
        add_column("meter_telemetry_history", "phase"),
        create_index("vehicle_live_status", "later", "soc"),
        *create_partitioned_index("meter_telemetry_history", parts, "later", "ingested_at"),
    ]
    assert {each: found for each in written if (found := list(violations(each)))} == {}


def up(statement: str, options: str = "") -> str:
    return f"-- migrate:up{options}\n{statement}\n\n-- migrate:down\nDROP INDEX whatever;\n"


@pytest.mark.parametrize(
    ("rule", "statement"),
    [
        ("index", "CREATE INDEX later ON meter_telemetry_history (ingested_at);"),
        ("index", "CREATE UNIQUE INDEX ON kafka_offsets (topic);"),
        ("index", "CREATE INDEX later ON meter_telemetry_history_y2026m11 (ingested_at);"),
        ("drop-index", "DROP INDEX old_one;"),
        ("transaction", "DROP INDEX CONCURRENTLY old_one;"),
        ("type", "ALTER TABLE meter_telemetry_history ALTER COLUMN voltage TYPE real;"),
        ("type", "ALTER TABLE vehicle_live_status ALTER soc SET DATA TYPE numeric;"),
        ("not-null", "ALTER TABLE vehicle_live_status ADD COLUMN odometer integer NOT NULL;"),
        ("set-not-null", "ALTER TABLE kafka_offsets ALTER COLUMN end_offset SET NOT NULL;"),
        ("volatile-default", "ALTER TABLE dead_letters ADD COLUMN id uuid DEFAULT gen_random_uuid();"),
        ("constraint", "ALTER TABLE vehicle_live_status ADD CONSTRAINT soc_range CHECK (soc <= 100);"),
        ("rename", "ALTER TABLE vehicle_live_status RENAME COLUMN soc TO charge;"),
        ("rename", "ALTER TABLE vehicle_live_status DROP COLUMN soc;"),
        ("rewrite", "VACUUM FULL meter_telemetry_history;"),
        ("transaction", "CREATE INDEX CONCURRENTLY later ON kafka_offsets (topic);"),
    ],
)
def test_each_rule_finds_its_violation(rule: str, statement: str) -> None:
    assert [found.split(":")[0] for found in violations(up(statement))] == [rule]
    exempted = up(f"-- allowed: {rule}: the table is empty until this version\n{statement}")
    assert rule == "transaction" or list(violations(exempted)) == []


@pytest.mark.parametrize(
    "migration",
    [
        up("ALTER TABLE vehicle_live_status ADD COLUMN odometer integer;"),
        up("ALTER TABLE vehicle_live_status ADD COLUMN odometer integer NOT NULL DEFAULT 0;"),
        up("ALTER TABLE vehicle_live_status ADD COLUMN odometer integer DEFAULT 0 NOT NULL;"),
        up("CREATE TABLE new_one (id integer NOT NULL);\nCREATE INDEX ON new_one (id);"),
        up("CREATE INDEX CONCURRENTLY later ON kafka_offsets (topic);", " transaction:false"),
        up("CREATE INDEX later ON ONLY meter_telemetry_history (ingested_at);"),
        up("DROP INDEX CONCURRENTLY old_one;", " transaction:false"),
        up("ALTER TABLE vehicle_live_status ADD CONSTRAINT soc_range CHECK (soc <= 100) NOT VALID;"),
        up("ALTER TABLE vehicle_live_status VALIDATE CONSTRAINT soc_range;"),
        up("-- DROP INDEX in a comment\nALTER TABLE dead_letters ADD COLUMN noted text;"),
    ],
)
def test_harmless_migrations_are_accepted(migration: str) -> None:
    assert list(violations(migration)) == []


def test_if_not_exists_is_rejected_for_concurrent_indexes() -> None:
    careless = "CREATE INDEX CONCURRENTLY IF NOT EXISTS later ON kafka_offsets (topic);"
    assert [found.split(":")[0] for found in violations(up(careless, " transaction:false"))] == ["half-built"]


def test_without_a_transaction_a_file_must_hold_one_statement() -> None:
    two = "CREATE INDEX CONCURRENTLY a ON kafka_offsets (topic);\nCREATE INDEX CONCURRENTLY b ON kafka_offsets (partition);"
    assert [found.split(":")[0] for found in violations(up(two, " transaction:false"))] == ["alone"]
