"""Migrations of versions to come: the ones there are, and more behind them, written by the rules of docs/development.md."""

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from sql.migrate import MIGRATIONS

AFTER_ALL = 29990101000000  # later than any that there will be


def newer(directory: Path, more: Iterable[str]) -> Path:
    """A directory of migrations. Called again for the same one, it gets more of them."""
    if not directory.exists():
        shutil.copytree(MIGRATIONS, directory)
    for number, text in enumerate(more, start=len(list(directory.iterdir()))):
        (directory / f"{AFTER_ALL + number}_more.sql").write_text(text)
    return directory


def column(table: str, name: str) -> str:
    """A column that consumers of the version before do not know."""
    return f"-- migrate:up\nALTER TABLE {table} ADD COLUMN {name} integer;\n\n-- migrate:down\n"


def index(table: str, name: str, columns: str) -> str:
    """An index on a table that is written to."""
    return f"-- migrate:up transaction:false\nCREATE INDEX CONCURRENTLY {name} ON {table} ({columns});\n\n-- migrate:down\n"


def index_of_all(parent: str, partitions: Iterable[str], name: str, columns: str) -> Iterator[str]:
    """The same for a table in partitions, which knows no CONCURRENTLY: each gets its own, and all are attached at the end."""
    parts = {part: f"{name}_{part.rpartition('_')[2]}" for part in partitions}
    yield f"-- migrate:up\nCREATE INDEX {name} ON ONLY {parent} ({columns});\n\n-- migrate:down\n"
    for part, its_own in parts.items():
        yield index(part, its_own, columns)
    attached = "\n".join(f"ALTER INDEX {name} ATTACH PARTITION {its_own};" for its_own in parts.values())
    yield f"-- migrate:up\n{attached}\n\n-- migrate:down\n"
