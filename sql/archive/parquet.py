"""Rows of a month as Parquet, and back: CSV out of the database -> batches -> row groups, a bounded part in memory at a time.

Everything of pyarrow is here; this module is imported only where an archive is written or read.
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

from sql.archive.manifest import ENERGY, ArchiveError, Contents

GROUP_BYTES: Final = 32 * 1024 * 1024  # of CSV, before it becomes one row group
HASH: Final = "row_hash"  # travels along and is not stored
TYPES: Final = {
    "timestamptz": pa.timestamp("us", "UTC"),
    "float8": pa.float64(),
    "text": pa.string(),
    "bool": pa.bool_(),
}


class Tally:
    """Adds up what batches of a history hold. Batches that carry row hashes give a fingerprint."""

    def __init__(self, history: str) -> None:
        self._energy = ENERGY[history]
        self._readings = self._derived = self._mwh = self._hash = 0
        self._hashed = True
        self._first: int | None = None
        self._last: int | None = None

    def add(self, batch: Any) -> None:
        """One batch or table more."""
        if not batch.num_rows:
            return
        self._readings += batch.num_rows
        if "derived" in batch.schema.names:
            self._derived += pc.sum(batch["derived"], min_count=0).as_py()
        # The same steps as in the database: times a million, to the nearest whole number, halves to the even one.
        whole = pc.cast(pc.round(pc.multiply(batch[self._energy], 1e6), round_mode="half_to_even"), pa.int64())
        self._mwh += int(pc.sum(pc.cast(whole, pa.decimal128(38, 0))).as_py())
        span = pc.min_max(pc.cast(batch["recorded_at"], pa.int64())).as_py()
        self._first = span["min"] if self._first is None else min(self._first, span["min"])
        self._last = span["max"] if self._last is None else max(self._last, span["max"])
        if HASH in batch.schema.names:
            self._hash += pc.sum(batch[HASH]).as_py()
        else:
            self._hashed = False

    def contents(self) -> Contents:
        """The figures so far."""
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


class Writer:
    """CSV in, in pieces of any size; a Parquet file out. The last column of the CSV is the hash of the row.

    Args:
        path: of the file to write.
        history: whose rows they are.
        columns: (name, type of PostgreSQL) of each column but the last.
    """

    def __init__(self, path: Path, history: str, columns: Sequence[tuple[str, str]]) -> None:
        types = {name: TYPES[kind] for name, kind in columns}
        self._schema = pa.schema(types)
        self._read = csv.ReadOptions(column_names=[*types, HASH])
        self._convert = csv.ConvertOptions(
            column_types=types | {HASH: pa.int64()}, true_values=["t"], false_values=["f"], null_values=[""]
        )
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._pending = BytesIO()
        self.tally = Tally(history)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._writer.close()

    def take(self, piece: bytes) -> bool:
        """Keep a piece; whether there is enough for `flush`."""
        return self._pending.write(piece) > 0 and self._pending.tell() >= GROUP_BYTES

    def flush(self, *, last: bool = False) -> None:
        """Write the whole lines that were taken as a row group."""
        taken = self._pending.getvalue()
        cut = len(taken) if last else taken.rfind(b"\n") + 1
        self._pending = BytesIO()
        self._pending.write(taken[cut:])
        if not cut:
            return
        try:
            rows = csv.read_csv(
                pa.BufferReader(pa.py_buffer(taken).slice(0, cut)),
                read_options=self._read,
                convert_options=self._convert,
            )
        except pa.ArrowInvalid as error:
            raise ArchiveError(f"rows of the database cannot be written as Parquet: {error}") from error
        self.tally.add(rows)
        self._writer.write_table(rows.select(self._schema.names))


def batches(path: Path, columns: Sequence[str] | None = None) -> Iterator[Any]:
    """The rows of a Parquet file, a bounded number at a time.

    Raises:
        ArchiveError: it is no Parquet file, or a broken one.
    """
    try:
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(batch_size=65_536, columns=list(columns) if columns else None)
    except pa.ArrowException as error:
        raise ArchiveError(f"{path} cannot be read as Parquet: {error}. Fetch another copy of it") from error
    except OSError as error:
        raise ArchiveError(f"{path} cannot be read: {error}. Fetch another copy of it") from error


def as_csv(batch: Any) -> bytes:
    """A batch as lines that COPY understands."""
    lines = BytesIO()
    csv.write_csv(batch, lines, csv.WriteOptions(include_header=False))
    return lines.getvalue()
