"""Readings of a month -> a Parquet file in the order of device and instant.

COPY of some devices at a time -> temporary file -> fsync -> read back and compare -> rename to the final name
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import structlog

from sql.archive.atomic_files import atomic_write, fsync, in_thread, sha256
from sql.archive.manifest import VERSION, ArchivedFile, ArchiveError
from sql.archive.source import Source, columns_of, device_batches

log = structlog.get_logger(__name__)

COPY_TIMEOUT_SECONDS: Final = 24 * 3600.0  # for the readings of some devices


async def export_source(connection: Any, source: Source, directory: Path) -> ArchivedFile:
    """Write all readings of a source to a file in `directory`. The figures returned were verified by reading the file back.

    Args:
        connection: of the schema's owner; with time zone UTC and datestyle ISO.
        source: a table of rows, or days of all levels.
        directory: exists. The file gets the name of the history.

    Raises:
        ArchiveError: the file does not hold what the source held.
        OSError: the disk is full or not writable.
    """
    from sql.archive.parquet import CsvToParquet  # noqa: PLC0415 - pyarrow is slow to load; only archives need it

    columns = await supported_columns(connection, source)
    names = [name for name, _ in columns]
    path = directory / f"{source.history}.parquet"
    with atomic_write(path) as partial:
        with CsvToParquet(partial, source.history, columns) as writer:
            batches = device_batches(connection, source)
            await copy_readings(connection, source, source.select(names), batches, writer)
        archived = await in_thread(lambda: _read_back(partial, path.name, source.history, names, writer))
    log.info("partition_archived", table=source.relation, readings=archived.contents.readings, bytes=archived.bytes)
    return archived


async def supported_columns(connection: Any, source: Source) -> list[tuple[str, str]]:
    """The columns of a source with the short names of their types.

    Raises:
        ArchiveError: a type has no place in Parquet files.
    """
    from sql.archive.columns import ARROW_TYPES  # noqa: PLC0415

    columns = await columns_of(connection, source)
    unsupported = [f"{name} {type_name}" for name, type_name in columns if type_name not in ARROW_TYPES]
    if unsupported:
        raise ArchiveError(
            f"{source.history} has columns of types that the archive does not support: {', '.join(unsupported)}"
        )
    return columns


async def copy_readings(
    connection: Any, source: Source, select: str, batches: AsyncIterator[list[str]], writer: Any
) -> None:
    """Send what `select` returns to a writer, as CSV: some devices at a time, so that neither side holds more of them."""

    async def write(chunk: bytes) -> None:
        if writer.buffer(chunk):
            await in_thread(writer.flush)

    async for devices in batches:
        await connection.copy_from_query(
            select, *source.parameters, devices, output=write, format="csv", timeout=COPY_TIMEOUT_SECONDS
        )
    await in_thread(lambda: writer.flush(last=True))


def _read_back(partial: Path, name: str, history: str, columns: list[str], writer: Any) -> ArchivedFile:
    from sql.archive.parquet import ContentsSum, Digest, read_batches  # noqa: PLC0415

    fsync(partial)
    written, found, digest = writer.contents.result(), ContentsSum(history), Digest()
    for batch in read_batches(partial, columns):
        found.add(batch)
        digest.add(batch)
    if not found.result().matches(written) or digest.result() != writer.digest.result():
        raise ArchiveError(f"{partial} was read back as {found.result()}, but {written} was written. Check the disk")
    return ArchivedFile(
        history=history,
        file=name,
        bytes=partial.stat().st_size,
        sha256=sha256(partial),
        columns=columns,
        contents=written,
        version=VERSION,
    )
