"""Every migration can be rolled back to exactly the schema before it."""

import asyncio
import itertools
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.stack.servers import Servers
from sql.migrate import MIGRATIONS, _dbmate_binary
from tests.support.database import Database, new_database

FILES = sorted(MIGRATIONS.glob("*.sql"))
PER_DUMP = ("\\restrict", "\\unrestrict", "--")
STAYS = ("CREATE EXTENSION", "COMMENT ON EXTENSION")  # extensions may have existed before, and may be in use
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def migrated(stack: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Database, Path]]:
    """An empty database, and a directory to which migrations are added in their order."""
    if stack.postgres is None:
        pytest.skip("pg_dump of the same version comes with the server from packages")
    with new_database(stack, f"energy_rollback_{os.getpid()}_{next(_numbers)}") as made:
        yield made, tmp_path_factory.mktemp("migrations")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_rollback_restores_the_previous_schema(migrated: tuple[Database, Path], file: Path) -> None:
    database, directory = migrated
    missing = [each for each in FILES[: FILES.index(file)] if not (directory / each.name).exists()]
    if missing:  # another process has run the tests of these
        for each in missing:
            shutil.copy(each, directory)
        _dbmate(database, directory, "migrate")
        _make_partitions(database)
    before = _schema(database)
    shutil.copy(file, directory)
    _dbmate(database, directory, "migrate")
    _make_partitions(database)
    after = _schema(database)
    _dbmate(database, directory, "rollback")
    rolled_back = _schema(database)
    _dbmate(database, directory, "migrate")

    assert _differences(before, rolled_back) == {}
    assert _differences(after, _schema(database)) == {}


def _dbmate(database: Database, directory: Path, command: str) -> None:
    done = subprocess.run(
        [_dbmate_binary(), "--migrations-dir", str(directory), "--no-dump-schema", command],
        env={**os.environ, "DATABASE_URL": f"{database.migrator_url}?sslmode=disable"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _make_partitions(database: Database) -> None:
    """As `python -m sql migrate` does, because migrations of a table must apply to its partitions too."""
    known = asyncio.run(database.value("SELECT to_regproc('ensure_history_partitions') IS NOT NULL"))
    if known:
        asyncio.run(database.execute("SELECT ensure_history_partitions('2026-01-01', '2026-02-01')"))


def _differences(expected: Counter[str], found: Counter[str]) -> dict[str, int]:
    """Line -> surplus count (negative: missing)."""
    return {line: found[line] - expected[line] for line in expected | found if found[line] != expected[line]}


def _schema(database: Database) -> Counter[str]:
    from deploy.stack.postgres import BINARIES  # noqa: PLC0415 - exists only with the server from packages

    dumped = subprocess.run(
        [str(BINARIES / "pg_dump"), "--schema-only", "--no-owner", "--exclude-table=schema_migrations", "--exclude-table=*_y20*",
         database.migrator_url],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    return Counter(
        line.rstrip(",") for line in dumped.splitlines() if line and not line.startswith((*PER_DUMP, *STAYS))
    )
