"""CSV from COPY -> batches -> Parquet row groups, and back, with bounded memory.

This is the only module that imports pyarrow. Others import it inside functions, because pyarrow is slow to load.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv

from sql.archive.manifest import ENERGY_COLUMNS, ArchiveError, Contents

ROW_GROUP_BYTES: Final = 32 * 1024 * 1024  # of CSV
ROWS_PER_BATCH: Final = 65_536
HASH_COLUMN: Final = "row_hash"  # read from the CSV for the fingerprint, not stored in the file
ARROW_TYPES: Final = {
    "timestamptz": pa.timestamp("us", "UTC"),
    "float8": pa.float64(),
    "text": pa.string(),
    "bool": pa.bool_(),
}


class ContentsSum:
    """Adds up the contents of batches of one history. The result has a fingerprint when every batch carries row hashes."""

    def __init__(self, history: str) -> None:
        self._energy_column = ENERGY_COLUMNS[history]
        self._readings = self._derived = self._mwh = self._hash = 0
        self._hashed = True
        self._first: int | None = None
        self._last: int | None = None

    def add(self, batch: Any) -> None:
        """Add a pyarrow batch or table."""
        if not batch.num_rows:
            return
        self._readings += batch.num_rows
        if "derived" in batch.schema.names:
            self._derived += pc.sum(batch["derived"], min_count=0).as_py()
        # The same arithmetic as in the SQL function contents_of: times a million, rounded half to even.
        mwh = pc.cast(pc.round(pc.multiply(batch[self._energy_column], 1e6), round_mode="half_to_even"), pa.int64())
        self._mwh += int(pc.sum(pc.cast(mwh, pa.decimal128(38, 0))).as_py())
        span = pc.min_max(pc.cast(batch["recorded_at"], pa.int64())).as_py()
        self._first = span["min"] if self._first is None else min(self._first, span["min"])
        self._last = span["max"] if self._last is None else max(self._last, span["max"])
        if HASH_COLUMN in batch.schema.names:
            self._hash += pc.sum(batch[HASH_COLUMN]).as_py()
        else:
            self._hashed = False

    def result(self) -> Contents:
        return Contents(
            readings=self._readings,
            derived=self._derived,
            energy_mwh=self._mwh,
            first=_instant(self._first),
            last=_instant(self._last),
            fingerprint=self._hash % 2**64 if self._hashed else None,
        )


def _instant(microseconds: int | None) -> datetime | None:
    if microseconds is None:
        return None
    seconds, rest = divmod(microseconds, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest)


class CsvToParquet:
    """Writes CSV that arrives in chunks of any size to a Parquet file. The last CSV column is the hash of the row.

    Args:
        path: of the file to write.
        history: the table the rows belong to.
        columns: (name, PostgreSQL type) of each column but the hash.
    """

    def __init__(self, path: Path, history: str, columns: Sequence[tuple[str, str]]) -> None:
        types = {name: ARROW_TYPES[type_name] for name, type_name in columns}
        self._schema = pa.schema(types)
        self._read = csv.ReadOptions(column_names=[*types, HASH_COLUMN])
        self._convert = csv.ConvertOptions(
            column_types=types | {HASH_COLUMN: pa.int64()}, true_values=["t"], false_values=["f"], null_values=[""]
        )
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._pending = BytesIO()
        self.contents = ContentsSum(history)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._writer.close()

    def buffer(self, chunk: bytes) -> bool:
        """Keep a chunk; True when there is enough for a row group and flush() is due."""
        return self._pending.write(chunk) > 0 and self._pending.tell() >= ROW_GROUP_BYTES

    def flush(self, *, last: bool = False) -> None:
        """Write the complete lines of the buffer as a row group.

        Raises:
            ArchiveError: a row does not fit the schema.
        """
        pending = self._pending.getvalue()
        cut = len(pending) if last else pending.rfind(b"\n") + 1
        self._pending = BytesIO()
        self._pending.write(pending[cut:])
        if not cut:
            return
        try:
            rows = csv.read_csv(
                pa.BufferReader(pa.py_buffer(pending).slice(0, cut)),
                read_options=self._read,
                convert_options=self._convert,
            )
        except pa.ArrowInvalid as error:
            raise ArchiveError(f"rows of the database cannot be written as Parquet: {error}") from error
        self.contents.add(rows)
        self._writer.write_table(rows.select(self._schema.names))


def read_batches(path: Path, columns: Sequence[str] | None = None) -> Iterator[Any]:
    """The rows of a Parquet file, ROWS_PER_BATCH at a time.

    Raises:
        ArchiveError: the file is not Parquet, or is damaged.
    """
    try:
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(batch_size=ROWS_PER_BATCH, columns=list(columns) if columns else None)
    except pa.ArrowException as error:
        raise ArchiveError(f"{path} cannot be read as Parquet: {error}. Fetch another copy of it") from error
    except OSError as error:
        raise ArchiveError(f"{path} cannot be read: {error}. Fetch another copy of it") from error


def to_csv(batch: Any) -> bytes:
    """A batch as CSV that COPY accepts."""
    lines = BytesIO()
    csv.write_csv(batch, lines, csv.WriteOptions(include_header=False))
    return lines.getvalue()
