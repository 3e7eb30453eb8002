"""How the columns of a history are stored in Parquet: exact, small, and of types that every reader of Parquet knows.

A double is stored as a decimal where every value of the file comes back bit for bit, an instant in milliseconds where none is
finer, `ingested_at` as milliseconds after `recorded_at`. The encoding of each column is the one that was smallest for a sample.

Like parquet.py and reader.py, this module imports pyarrow. Others import them inside functions, because pyarrow is slow to load.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

LAG: Final = "ingested_after_ms"
MOST_DECIMALS: Final = 9
MOST_DIGITS: Final = 18  # of a decimal that is stored as a 64-bit integer
LARGEST_EXACT: Final = 9e15  # integers up to here are exact as doubles
MICROSECONDS: Final = pa.timestamp("us", "UTC")
MILLISECONDS: Final = pa.timestamp("ms", "UTC")
ARROW_TYPES: Final[Mapping[str, Any]] = {
    "timestamptz": MICROSECONDS,
    "float8": pa.float64(),
    "text": pa.string(),
    "bool": pa.bool_(),
}
SAMPLED_ROWS: Final = 65_536  # from which the encodings are chosen
QUICK_LEVEL: Final = 9
DICTIONARY: Final = "dictionary"
ENCODINGS: Final = ("BYTE_STREAM_SPLIT", "DELTA_BINARY_PACKED", DICTIONARY)
# A page is compressed by itself, and devices repeat themselves over days: in pages of a whole row group the values take a third
# less than in pyarrow's pages of 20,000 rows. Level 15 makes a file one percent smaller than level 9 for 0.8 microseconds of CPU
# a reading, level 19 one more for another 1.6.
COMPRESSION: Final[Mapping[str, Any]] = {
    "compression": "zstd",
    "compression_level": 15,
    "store_decimal_as_integer": True,
    "data_page_size": 8 * 1024 * 1024,
    "max_rows_per_page": 2**20,
}
DESCRIPTION: Final = {
    "description": f"Readings in the order of device and instant. {LAG}: milliseconds from recorded_at to ingested_at, both "
    "rounded down to the millisecond."
}


@dataclass(frozen=True, slots=True)
class Storage:
    """The stored type of each column, and its encoding. Columns without an entry are stored as they are."""

    types: Mapping[str, Any]
    encodings: Mapping[str, str]

    def parquet_options(self, names: Iterable[str]) -> dict[str, Any]:
        """Options of a pyarrow.parquet.ParquetWriter for the stored columns `names`."""
        encodings = {name: each for name, each in self.encodings.items() if each != DICTIONARY}
        return {
            **COMPRESSION,
            "column_encoding": encodings or None,
            "use_dictionary": [name for name in names if name not in encodings],
        }

    def misfits(self, rows: Any) -> list[str]:
        """The columns of which a value would not come back bit for bit."""
        return [name for name, kind in self.types.items() if not _fits(rows[name], kind)]

    def widened(self, rows: Any, names: Iterable[str]) -> "Storage":
        """With types for these columns that hold the rows, and more than now."""
        wider = {name: _wider(rows[name], self.types[name]) for name in names}
        doubles = {name: "BYTE_STREAM_SPLIT" for name, kind in wider.items() if pa.types.is_floating(kind)}
        return Storage({**self.types, **wider}, {**self.encodings, **doubles})

    def encode(self, rows: Any) -> Any:
        """A table as it is stored. Every column must fit."""
        stored = {}
        for name in rows.schema.names:
            if name == "ingested_at":
                stored[LAG] = pc.subtract(_milliseconds(rows[name]), _milliseconds(rows["recorded_at"]))
            else:
                stored[name] = _encoded(rows[name], self.types[name]) if name in self.types else rows[name]
        return pa.table(stored)


def choose_storage(rows: Any) -> Storage:
    """The smallest types that hold these rows, and the smallest encodings of them."""
    types = {name: _least(rows[name]) for name in rows.schema.names if _has_choice(rows.schema.field(name))}
    storage = Storage(types, {})
    stored = storage.encode(rows.slice(0, SAMPLED_ROWS))
    numbers = [name for name in stored.schema.names if name == LAG or name in types]
    return replace(storage, encodings={name: _smallest_encoding(stored.select([name])) for name in numbers})


def stored_names(names: Iterable[str]) -> list[str]:
    """The stored columns that decode() needs for these columns."""
    listed = [LAG if name == "ingested_at" else name for name in names]
    return [*listed, *(["recorded_at"] if LAG in listed and "recorded_at" not in listed else [])]


def decode(stored: Any) -> Any:
    """The rows of a stored table or batch, with doubles, instants in microseconds and `ingested_at`; also of former files."""
    rows = {}
    for name in stored.schema.names:
        if name == LAG:
            ingested = pc.add(_milliseconds(_decoded(stored["recorded_at"])), stored[LAG])
            rows["ingested_at"] = pc.cast(_whole(ingested).cast(MILLISECONDS), MICROSECONDS)
        else:
            rows[name] = _decoded(stored[name])
    return pa.table(rows)


def _has_choice(field: Any) -> bool:
    return field.name != "ingested_at" and bool(pa.types.is_floating(field.type) or pa.types.is_timestamp(field.type))


def _whole(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _milliseconds(instants: Any) -> Any:
    return pc.divide(pc.cast(pc.cast(instants, MICROSECONDS), pa.int64()), 1000)


def _least(column: Any) -> Any:
    """The smallest type for a column's values; its own where no smaller one holds all of them."""
    if pa.types.is_timestamp(column.type):
        return MILLISECONDS if _fits(column, MILLISECONDS) else MICROSECONDS
    return _least_decimal(column, 0)


def _wider(column: Any, kind: Any) -> Any:
    return _least_decimal(column, kind.scale + 1) if pa.types.is_decimal(kind) else column.type


def _least_decimal(column: Any, decimals: int) -> Any:
    sample = column.slice(0, 1000)  # decides quickly in most cases
    kinds = (pa.decimal64(MOST_DIGITS, each) for each in range(decimals, MOST_DECIMALS + 1))
    return next((kind for kind in kinds if _fits(sample, kind) and _fits(column, kind)), pa.float64())


def _fits(column: Any, kind: Any) -> bool:
    """Whether every value of a column comes back bit for bit from this type."""
    if kind.equals(column.type) or column.null_count == len(column):
        return True
    if pa.types.is_timestamp(kind):
        return bool(pc.all(pc.equal(pc.multiply(_milliseconds(column), 1000), column.cast(pa.int64()))).as_py())
    span = pc.min_max(pc.abs(column)).as_py()
    finite = pc.all(pc.is_finite(column)).as_py()
    if not finite or span["max"] * 10.0**kind.scale >= LARGEST_EXACT:
        return False
    original = _whole(column)
    back = _whole(_divided(_scaled(original, kind.scale), kind.scale))
    same_bits = pc.equal(back.view(pa.int64()), original.view(pa.int64()))  # zero may have a sign
    return bool(pc.all(same_bits).as_py())


def _encoded(column: Any, kind: Any) -> Any:
    if pa.types.is_decimal(kind):
        return _whole(_scaled(column, kind.scale)).view(kind)
    return pc.cast(column, kind)


def _decoded(column: Any) -> Any:
    if pa.types.is_decimal(column.type):
        kind = pa.decimal64(MOST_DIGITS, column.type.scale)
        return _divided(_whole(pc.cast(column, kind)).view(pa.int64()), kind.scale)
    return pc.cast(column, MICROSECONDS) if pa.types.is_timestamp(column.type) else column


def _scaled(column: Any, decimals: int) -> Any:
    return pc.cast(pc.round(pc.multiply(column, 10.0**decimals)), pa.int64())


def _divided(integers: Any, decimals: int) -> Any:
    return pc.divide(pc.cast(integers, pa.float64()), 10.0**decimals)


def _smallest_encoding(column: Any) -> str:
    def size(encoding: str) -> int:
        (name,) = column.schema.names
        with pa.BufferOutputStream() as output:
            options = Storage({}, {name: encoding}).parquet_options([name]) | {"compression_level": QUICK_LEVEL}
            pq.write_table(column, output, **options)
            return int(output.tell())

    integers = not pa.types.is_floating(column.schema.types[0])
    return min((each for each in ENCODINGS if integers or each != "DELTA_BINARY_PACKED"), key=size)
