"""Archived months back into tables of their own, in the schema `archive`: verified, copied, compared."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

import asyncpg

from sql.archive.export import SECONDS, contents, in_thread
from sql.archive.manifest import Archive, ArchivedFile, ArchiveError, verify_file
from sql.queries import queries

SCHEMA: Final = "archive"


def table_of(archive: Archive, file: ArchivedFile) -> str:
    """The name of the table that a file is restored to, without its schema."""
    return f"{file.history}_y{archive.manifest.month:%Ym%m}" + _number(archive.directory.name)


def _number(directory: str) -> str:
    """A month that was dropped more than once has several archives: 2025-09, 2025-09-2."""
    parts = directory.split("-")
    return f"_{parts[2]}" if len(parts) == 3 else ""  # noqa: PLR2004


async def restore(connection: Any, archive: Archive, say: Callable[[str], None]) -> list[str]:
    """Bring a month back: all files of it or none.

    Args:
        connection: of the schema's owner, in no transaction.
        archive: what to bring back.
        say: is told of each table, and how far it is.

    Returns:
        The tables that were made, with their schema.

    Raises:
        ArchiveError: a file is not what was archived, a table is there already, or does not hold what the file holds.
    """
    made = []
    async with connection.transaction():
        await connection.execute("SET LOCAL timezone = 'UTC'")
        await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        for file in archive.manifest.files:
            path = archive.directory / file.file
            await in_thread(lambda p=path, f=file: verify_file(p, f))  # type: ignore[misc]
            made.append(await _restore(connection, archive, file, path, say))
    return made


async def _restore(
    connection: Any, archive: Archive, file: ArchivedFile, path: Path, say: Callable[[str], None]
) -> str:
    table = table_of(archive, file)
    try:
        await connection.execute(f'CREATE TABLE {SCHEMA}."{table}" (LIKE "{file.history}" INCLUDING DEFAULTS)')
    except asyncpg.DuplicateTableError as error:
        raise ArchiveError(f"{SCHEMA}.{table} is there already: drop it first") from error
    await connection.copy_to_table(
        table,
        schema_name=SCHEMA,
        source=_lines(path, file, lambda rows: say(f"{SCHEMA}.{table}: {rows:,} of {file.contents.readings:,}")),
        columns=file.columns,
        format="csv",
        timeout=SECONDS,
    )
    key = [row["name"] async for row in queries.key_of(connection, history=file.history)]
    await connection.execute(f'ALTER TABLE {SCHEMA}."{table}" ADD PRIMARY KEY ({", ".join(key)})', timeout=SECONDS)
    found = await contents(connection, f'{SCHEMA}."{table}"', file.history, file.columns)
    if (await queries.database_identity(connection))["server"] != archive.manifest.server:
        found = found.without_fingerprint()  # another version may hash in another way
    if not found.agrees(file.contents):
        raise ArchiveError(f"{SCHEMA}.{table} holds {found}, {path} {file.contents}: nothing was restored")
    return f"{SCHEMA}.{table}"


async def _lines(path: Path, file: ArchivedFile, say: Callable[[int], None]) -> AsyncIterator[bytes]:
    from sql.archive.parquet import as_csv, batches  # noqa: PLC0415 - pyarrow takes long to load, and only archives need it

    rows = 0
    for batch in batches(path, file.columns):
        yield await in_thread(lambda b=batch: as_csv(b))  # type: ignore[misc]
        rows += batch.num_rows
        say(rows)
