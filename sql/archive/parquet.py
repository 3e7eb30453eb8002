"""CSV from COPY -> rows -> stored columns -> Parquet row groups, and back, with bounded memory."""

import hashlib
from collections import Counter
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

from sql.archive.atomic_files import PARTIAL_SUFFIX
from sql.archive.columns import ARROW_TYPES, DESCRIPTION, Storage, choose_storage, decode, stored_names
from sql.archive.manifest import ENERGY_COLUMNS, ArchiveError, Contents

CSV_BYTES: Final = 32 * 1024 * 1024  # that are parsed at once
# The readings of six devices with a reading a minute: a month of one lies in one row group or two. The file of 20,000 devices has
# 3,300 row groups (a footer of 1.7 MB), and reading a day of a device decodes one.
ROWS_PER_GROUP: Final = 262_144
ROWS_PER_BATCH: Final = 65_536
HASH_COLUMN: Final = "row_hash"  # read from the CSV for the fingerprint, not stored in the file


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
        # The same arithmetic as in Source.sums(): times a million, rounded half to even.
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
        """The figures of all batches."""
        return Contents(
            readings=self._readings,
            derived=self._derived,
            energy_mwh=self._mwh,
            first=_instant(self._first),
            last=_instant(self._last),
            fingerprint=self._hash % 2**64 if self._hashed else None,
        )


class Digest:
    """A digest of every value of batches, bit for bit, which does not depend on their sizes. Of ids it counts the occurrences."""

    def __init__(self) -> None:
        self._hashes: dict[str, Any] = {}
        self._ids: Counter[str] = Counter()

    def add(self, batch: Any) -> None:
        """Add a pyarrow batch or table."""
        for name in batch.schema.names:
            column = batch[name]
            if pa.types.is_string(column.type):
                for each in pc.value_counts(column):
                    self._ids[each["values"].as_py()] += each["counts"].as_py()
            elif name != HASH_COLUMN:
                values = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
                bits = values.cast(pa.int64()) if pa.types.is_boolean(values.type) else values.view(pa.int64())
                hashed = self._hashes.setdefault(name, (hashlib.blake2b(), hashlib.blake2b()))
                hashed[0].update(_bytes(pc.fill_null(bits, 0)))
                hashed[1].update(_bytes(pc.cast(pc.is_null(values), pa.int8())))

    def result(self) -> dict[str, Any]:
        """Comparable with those of other digests."""
        hashes = {name: tuple(each.hexdigest() for each in both) for name, both in self._hashes.items()}
        return {"ids": dict(self._ids), **hashes}


def _bytes(numbers: Any) -> Any:
    width = numbers.type.bit_width // 8
    return numbers.buffers()[1].slice(numbers.offset * width, len(numbers) * width)


def _instant(microseconds: int | None) -> datetime | None:
    if microseconds is None:
        return None
    seconds, rest = divmod(microseconds, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest)


class ParquetFile:
    """Writes rows to a Parquet file in the order in which they come, as small as they allow.

    The first row group decides how the columns are stored. Where a later value does not fit, the file is written again with a
    wider column: from itself, one row group at a time.

    Args:
        path: of the file to write.
        history: is written to the file's metadata.
    """

    def __init__(self, path: Path, history: str) -> None:
        self._path = path
        self._metadata = {"history": history, **DESCRIPTION}
        self._storage: Storage | None = None
        self._writer: Any = None
        self._pending: list[Any] = []
        self._rewritten = 0

    def write(self, rows: Any) -> None:
        """Add rows; a row group is written when there are enough."""
        self._pending.append(rows)
        while sum(each.num_rows for each in self._pending) >= ROWS_PER_GROUP:
            self._flush()

    def close(self) -> None:
        """Write what is left. A file without rows has no row group, and the columns of the schema given."""
        if self._pending or self._writer is None:
            self._flush()
        self.abandon()

    def abandon(self) -> None:
        """Close the file, whatever it holds."""
        if self._writer:
            self._writer.close()

    def _flush(self) -> None:
        rows = pa.concat_tables(self._pending).combine_chunks()
        self._pending = [rows.slice(ROWS_PER_GROUP)] if rows.num_rows > ROWS_PER_GROUP else []
        self._write_group(rows.slice(0, ROWS_PER_GROUP))

    def _write_group(self, rows: Any) -> None:
        storage = self._storage or self._open(choose_storage(rows), rows)
        while misfits := storage.misfits(rows):
            storage = self._widen(storage.widened(rows, misfits), rows)
        self._writer.write_table(storage.encode(rows), row_group_size=ROWS_PER_GROUP)

    def _open(self, storage: Storage, rows: Any) -> Storage:
        schema = storage.encode(rows.slice(0, 0)).schema.with_metadata(self._metadata)
        statistics = [name for name in schema.names if name in ("meter_id", "vehicle_id", "recorded_at")]
        self._writer = pq.ParquetWriter(
            self._path, schema, write_statistics=statistics, **storage.parquet_options(schema.names)
        )
        self._storage = storage
        return storage

    def _widen(self, storage: Storage, rows: Any) -> Storage:
        """Write all row groups so far again; `rows` has their columns. The result may be wider still, if they need it."""
        self._writer.close()
        self._rewritten += 1
        narrow = self._path.rename(self._path.with_name(f"{self._path.name}.{self._rewritten}{PARTIAL_SUFFIX}"))
        try:
            self._open(storage, rows)
            with pq.ParquetFile(narrow) as file:
                for group in range(file.num_row_groups):
                    self._write_group(decode(file.read_row_group(group)))
        finally:
            narrow.unlink()
        return self._storage or storage


class CsvToParquet:
    """Writes CSV that arrives in chunks of any size to a Parquet file. The last CSV column is the hash of the row.

    Args:
        path: of the file to write.
        history: the history the rows belong to.
        columns: (name, PostgreSQL type) of each column but the hash.
    """

    def __init__(self, path: Path, history: str, columns: Sequence[tuple[str, str]]) -> None:
        types = {name: ARROW_TYPES[type_name] for name, type_name in columns}
        self._names = list(types)
        self._read = csv.ReadOptions(column_names=[*types, HASH_COLUMN])
        self._convert = csv.ConvertOptions(
            column_types=types | {HASH_COLUMN: pa.int64()},
            true_values=["t"],
            false_values=["f"],
            null_values=[""],
        )
        self._file = ParquetFile(path, history)
        self._file.write(pa.schema(types).empty_table())
        self._pending = BytesIO()
        self.contents = ContentsSum(history)
        self.digest = Digest()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.abandon()

    def buffer(self, chunk: bytes) -> bool:
        """Keep a chunk; True when there is enough to parse and flush() is due."""
        return self._pending.write(chunk) > 0 and self._pending.tell() >= CSV_BYTES

    def flush(self, *, last: bool = False) -> None:
        """Write the complete lines of the buffer. `last`: all of it, and the end of the file.

        Raises:
            ArchiveError: a row does not fit the schema.
        """
        pending = self._pending.getvalue()
        cut = len(pending) if last else pending.rfind(b"\n") + 1
        self._pending = BytesIO()
        self._pending.write(pending[cut:])
        if cut:
            rows = self._parse(pa.py_buffer(pending).slice(0, cut))
            self.contents.add(rows)
            self.digest.add(rows)
            self._file.write(rows.select(self._names))
        if last:
            self._file.close()

    def _parse(self, lines: Any) -> Any:
        try:
            return csv.read_csv(pa.BufferReader(lines), read_options=self._read, convert_options=self._convert)
        except pa.ArrowInvalid as error:
            raise ArchiveError(f"rows of the database cannot be written as Parquet: {error}") from error


def read_batches(path: Path, columns: Sequence[str] | None = None) -> Iterator[Any]:
    """The rows of a Parquet file of any version, ROWS_PER_BATCH at a time, with the columns of the table.

    Raises:
        ArchiveError: the file is not Parquet, or is damaged.
    """
    try:
        with pq.ParquetFile(path) as file:
            stored = _stored(file.schema_arrow.names, columns) if columns else None
            for batch in file.iter_batches(batch_size=ROWS_PER_BATCH, columns=stored):
                rows = decode(batch)
                yield rows.select(list(columns)) if columns else rows
    except pa.ArrowException as error:
        raise ArchiveError(f"{path} cannot be read as Parquet: {error}. Fetch another copy of it") from error
    except OSError as error:
        raise ArchiveError(f"{path} cannot be read: {error}. Fetch another copy of it") from error


def _stored(names: Sequence[str], columns: Sequence[str]) -> list[str]:
    """The columns of a file to read: files of version 1 hold the columns of the table as they are."""
    return list(columns) if set(columns) <= set(names) else stored_names(columns)


def to_csv(batch: Any) -> bytes:
    """A batch or table as CSV that COPY accepts."""
    lines = BytesIO()
    csv.write_csv(batch, lines, csv.WriteOptions(include_header=False))
    return lines.getvalue()
