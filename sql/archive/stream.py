"""Rows in portions -> the bytes of a Parquet file, a row group for each portion."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sql.archive.columns import MICROSECONDS

TYPES = {"instant": MICROSECONDS, "number": pa.float64(), "text": pa.string()}


class _Sink:
    """A file that keeps what is written until it is taken."""

    def __init__(self) -> None:
        self._written = bytearray()
        self._position = 0
        self.closed = False

    def write(self, data: bytes) -> int:
        self._written += data
        self._position += len(data)
        return len(data)

    def tell(self) -> int:
        return self._position

    def flush(self) -> None:
        """Nothing is buffered elsewhere."""

    def close(self) -> None:
        self.closed = True

    def take(self) -> bytes:
        taken, self._written = bytes(self._written), bytearray()
        return taken


class ParquetStream:
    """A Parquet file that is sent while it is written.

    Args:
        columns: the name of each column, and its type: instant, number or text.
    """

    def __init__(self, columns: Mapping[str, str]) -> None:
        self._schema = pa.schema([(name, TYPES[kind]) for name, kind in columns.items()])
        self._sink = _Sink()
        self._writer = pq.ParquetWriter(
            pa.PythonFile(self._sink, "w"), self._schema, compression="zstd", compression_level=9
        )

    def add(self, rows: Sequence[Sequence[Any]]) -> bytes:
        """The bytes that these rows add to the file; each has a value for every column."""
        if rows:
            columns = [pa.array(values, field.type) for values, field in zip(zip(*rows), self._schema)]  # noqa: B905
            self._writer.write_table(pa.table(columns, schema=self._schema))
        return self._sink.take()

    def end(self) -> bytes:
        """The end of the file."""
        self._writer.close()
        return self._sink.take()
