"""Migrations of a later version: the present ones and more after them, written by the rules of docs/development.md."""

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from sql.migrate import MIGRATIONS

FIRST_NEW_VERSION = 29990101000000  # after every real migration


def extended_migrations(directory: Path, more: Iterable[str]) -> Path:
    """Copies the migrations into a directory and adds more. Called again for the same directory, it only adds."""
    if not directory.exists():
        shutil.copytree(MIGRATIONS, directory)
    for number, text in enumerate(more, start=len(list(directory.iterdir()))):
        (directory / f"{FIRST_NEW_VERSION + number}_more.sql").write_text(text)
    return directory


def add_column(table: str, name: str) -> str:
    """A migration that adds a column, which consumers of the previous version do not use."""
    return f"-- migrate:up\nALTER TABLE {table} ADD COLUMN {name} integer;\n\n-- migrate:down\n"


def create_index(table: str, name: str, columns: str) -> str:
    """A migration that creates an index without blocking writes to the table."""
    return f"-- migrate:up transaction:false\nCREATE INDEX CONCURRENTLY {name} ON {table} ({columns});\n\n-- migrate:down\n"


def create_partitioned_index(parent: str, partitions: Iterable[str], name: str, columns: str) -> Iterator[str]:
    """The migrations for an index on a partitioned table, which does not support CONCURRENTLY.

    Each partition gets an index of its own, and the last migration attaches all of them to the index of the parent.
    """
    indexes = {partition: f"{name}_{partition.rpartition('_')[2]}" for partition in partitions}
    yield f"-- migrate:up\nCREATE INDEX {name} ON ONLY {parent} ({columns});\n\n-- migrate:down\n"
    for partition, index in indexes.items():
        yield create_index(partition, index, columns)
    attached = "\n".join(f"ALTER INDEX {name} ATTACH PARTITION {index};" for index in indexes.values())
    yield f"-- migrate:up\n{attached}\n\n-- migrate:down\n"
