"""One table of a month -> a Parquet file.

COPY -> temporary file -> fsync -> read back and compare -> rename to the final name
"""

from pathlib import Path
from typing import Any, Final

import structlog

from sql.archive.atomic_files import atomic_write, fsync, in_thread, sha256
from sql.archive.manifest import ENERGY_COLUMNS, ArchivedFile, ArchiveError, Contents
from sql.archive.verify import read_contents
from sql.queries import queries

log = structlog.get_logger(__name__)

COPY_TIMEOUT_SECONDS: Final = 24 * 3600.0  # for all rows of one month


async def export_table(connection: Any, table: str, history: str, directory: Path) -> ArchivedFile:
    """Write all rows of a table to a file in `directory`. The figures returned were verified by reading the file back.

    Args:
        connection: of the schema's owner; with time zone UTC and datestyle ISO.
        table: the monthly partition.
        history: its parent table, which also names the file.
        directory: exists.

    Raises:
        ArchiveError: the file does not hold what the table held.
        OSError: the disk is full or not writable.
    """
    from sql.archive.parquet import ARROW_TYPES, CsvToParquet  # noqa: PLC0415 - pyarrow is slow to load; only archives need it

    columns = [
        (str(row["name"]), str(row["kind"])) async for row in queries.history_columns(connection, history=history)
    ]
    unsupported = [f"{name} {type_name}" for name, type_name in columns if type_name not in ARROW_TYPES]
    if unsupported:
        raise ArchiveError(
            f"{history} has columns of types that the archive does not support: {', '.join(unsupported)}"
        )
    names = [name for name, _ in columns]
    path = directory / f"{history}.parquet"
    with atomic_write(path) as partial:
        with CsvToParquet(partial, history, columns) as writer:

            async def write(chunk: bytes) -> None:
                if writer.buffer(chunk):
                    await in_thread(writer.flush)

            await connection.copy_from_query(
                _select_rows(table, names), output=write, format="csv", timeout=COPY_TIMEOUT_SECONDS
            )
            await in_thread(lambda: writer.flush(last=True))
        written = writer.contents.result()
        archived = await in_thread(lambda: _read_back(partial, path.name, history, names, written))
    log.info("partition_archived", table=table, readings=archived.contents.readings, bytes=archived.bytes)
    return archived


def _select_rows(table: str, columns: list[str]) -> str:
    # COPY takes no parameters; the names come from the catalog.
    listed = ", ".join(f'"{column}"' for column in columns)
    return f'SELECT {listed}, hash_record_extended(ROW({listed}), 0) FROM "{table}"'  # noqa: S608


def _read_back(partial: Path, name: str, history: str, columns: list[str], written: Contents) -> ArchivedFile:
    fsync(partial)
    found = read_contents(partial, history)
    if not found.matches(written):
        raise ArchiveError(f"{partial} was read back as {found}, but {written} was written. Check the disk")
    return ArchivedFile(
        history=history,
        file=name,
        bytes=partial.stat().st_size,
        sha256=sha256(partial),
        columns=columns,
        contents=written,
    )


async def table_contents(connection: Any, table: str, history: str, columns: list[str]) -> Contents:
    """What a table holds now, computed by the database."""
    row = await queries.contents_of(connection, part=table, energy=ENERGY_COLUMNS[history], columns=columns)
    return Contents(
        readings=row["readings"],
        derived=row["derived"],
        energy_mwh=int(row["energy_mwh"]),
        first=row["first"],
        last=row["last"],
        fingerprint=int(row["fingerprint"]) % 2**64,
    )
