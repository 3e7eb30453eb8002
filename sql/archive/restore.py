"""Archived months restored into tables of their own, in the schema `archive`: verified, copied, compared."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

import asyncpg

from sql.archive.atomic_files import in_thread
from sql.archive.export import COPY_TIMEOUT_SECONDS
from sql.archive.manifest import Archive, ArchivedFile, ArchiveError
from sql.archive.source import Source, source_contents
from sql.archive.verify import verify_file
from sql.queries import queries

SCHEMA: Final = "archive"


async def restore(connection: Any, archive: Archive, report: Callable[[str], None]) -> list[str]:
    """Restore all files of a month, or none.

    Args:
        connection: of the schema's owner, not in a transaction.
        archive: the month to restore.
        report: called with a line of progress for each batch.

    Returns:
        The tables that were created, with their schema.

    Raises:
        ArchiveError: a file is not what was archived, or a table exists already or does not hold what the file holds.
    """
    created = []
    async with connection.transaction():
        await connection.execute("SET LOCAL timezone = 'UTC'")
        await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        for file in archive.manifest.files:
            path = archive.directory / file.file
            await in_thread(lambda p=path, f=file: verify_file(p, f))  # type: ignore[misc]
            created.append(await _restore_file(connection, archive, file, path, report))
    return created


async def _restore_file(
    connection: Any, archive: Archive, file: ArchivedFile, path: Path, report: Callable[[str], None]
) -> str:
    table = _table_name(archive, file)
    try:
        await connection.execute(f'CREATE TABLE {SCHEMA}."{table}" (LIKE "{file.history}" INCLUDING DEFAULTS)')
    except asyncpg.DuplicateTableError as error:
        raise ArchiveError(f"{SCHEMA}.{table} exists already: drop it first") from error
    await connection.copy_to_table(
        table,
        schema_name=SCHEMA,
        source=_csv_batches(
            path, file, lambda rows: report(f"{SCHEMA}.{table}: {rows:,} of {file.contents.readings:,}")
        ),
        columns=file.columns,
        format="csv",
        timeout=COPY_TIMEOUT_SECONDS,
    )
    key = [row["name"] async for row in queries.primary_key_columns(connection, history=file.history)]
    await connection.execute(
        f'ALTER TABLE {SCHEMA}."{table}" ADD PRIMARY KEY ({", ".join(key)})', timeout=COPY_TIMEOUT_SECONDS
    )
    source = Source.of_table(file.history, f'{SCHEMA}."{table}"', whole_milliseconds=file.version > 1)
    found = await source_contents(connection, source, file.columns)
    if (await queries.database_identity(connection))["server"] != archive.manifest.server:
        found = found.without_fingerprint()  # hashes may differ between major versions of PostgreSQL
    if not found.matches(file.contents):
        raise ArchiveError(f"{SCHEMA}.{table} holds {found}, {path} {file.contents}: nothing was restored")
    return f"{SCHEMA}.{table}"


def _table_name(archive: Archive, file: ArchivedFile) -> str:
    """`meter_telemetry_history_y2025m09`, with `_2` appended for the directory 2025-09-2: a month can be archived repeatedly."""
    parts = archive.directory.name.split("-")
    number = f"_{parts[2]}" if len(parts) == 3 else ""  # noqa: PLR2004
    return f"{file.history}_y{archive.manifest.month:%Ym%m}{number}"


async def _csv_batches(path: Path, file: ArchivedFile, report: Callable[[int], None]) -> AsyncIterator[bytes]:
    from sql.archive.parquet import read_batches, to_csv  # noqa: PLC0415 - pyarrow is slow to load; only archives need it

    rows = 0
    for batch in read_batches(path, file.columns):
        yield await in_thread(lambda b=batch: to_csv(b))  # type: ignore[misc]
        rows += batch.num_rows
        report(rows)
