"""Readings of any period and any devices -> a CSV or Parquet file for people.

COPY of some devices at a time -> temporary file -> fsync -> rename to the final name
"""

from collections.abc import AsyncIterator, Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Final

from sql.archive.atomic_files import atomic_write
from sql.archive.export import copy_readings, supported_columns
from sql.archive.manifest import ArchiveError
from sql.archive.source import DEVICES_PER_BATCH, Source, device_batches
from sql.queries import queries

PARQUET: Final = ".parquet"
CSV: Final = ".csv"
CSV_BYTES: Final = 8 * 1024 * 1024  # that are written at once


class _CsvFile:
    """Writes CSV as it comes, after a line with the names of the columns."""

    def __init__(self, file: BinaryIO, names: Sequence[str]) -> None:
        self._file = file
        self._pending = BytesIO()
        self._pending.write(",".join(names).encode() + b"\n")

    def buffer(self, chunk: bytes) -> bool:
        """Keep a chunk; True when there is enough and flush() is due."""
        return self._pending.write(chunk) > 0 and self._pending.tell() >= CSV_BYTES

    def flush(self, *, last: bool = False) -> None:  # as CsvToParquet
        self._file.write(self._pending.getvalue())
        self._pending = BytesIO()


async def extract(
    connection: Any, source: Source, devices: Sequence[str] | None, path: Path, report: Callable[[str], None]
) -> None:
    """Write the readings of a source to `path`, in the order of device and instant; a failure leaves no file.

    Args:
        connection: with time zone UTC and datestyle ISO; may be a reader's.
        source: days of a history.
        devices: their ids; None: all.
        path: ends with .csv or .parquet.
        report: called with a line of progress for every batch of devices.

    Raises:
        ArchiveError: some months of the period were dropped from the database, before or while it was read.
        OSError: the disk is full or not writable.
    """
    await _require_present(connection, source)
    columns = await supported_columns(connection, source)
    names = [name for name, _ in columns]
    batches = _reported(_given(devices) if devices is not None else device_batches(connection, source), report)
    with atomic_write(path) as partial:
        if path.suffix == PARQUET:
            from sql.archive.parquet import CsvToParquet  # noqa: PLC0415 - pyarrow is slow to load, and may be missing

            with CsvToParquet(partial, source.history, columns) as writer:
                await copy_readings(connection, source, source.select(names), batches, writer)
        else:
            with partial.open("wb") as file:
                select = source.select(names, hashed=False)
                await copy_readings(connection, source, select, batches, _CsvFile(file, names))
        await _require_present(connection, source)


async def _given(devices: Sequence[str]) -> AsyncIterator[list[str]]:
    ordered = sorted(set(devices))
    for start in range(0, len(ordered), DEVICES_PER_BATCH):
        yield ordered[start : start + DEVICES_PER_BATCH]


async def _reported(batches: AsyncIterator[list[str]], report: Callable[[str], None]) -> AsyncIterator[list[str]]:
    count = 0
    async for batch in batches:
        yield batch
        count += len(batch)
        report(f"{count:,} devices, up to {batch[-1]}")


async def _require_present(connection: Any, source: Source) -> None:
    opens, closes = source.parameters
    rows = queries.retired_months_of(connection, histories=[source.history], opens=opens, closes=closes)
    months = [f"{row['month']:%Y-%m} ({', '.join(row['directories']) or 'not archived'})" async for row in rows]
    if months:
        raise ArchiveError(
            f"months of this period were dropped from the database: {', '.join(months)}. Their files in ARCHIVE_DIRECTORY are "
            "Parquet already; export the rest of the period"
        )
