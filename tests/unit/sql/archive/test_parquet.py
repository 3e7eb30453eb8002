"""Round trips through Parquet: every value survives bit for bit, in whatever chunks the database sends the rows."""

import csv
import io
import struct
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sql.archive import parquet
from sql.archive.atomic_files import atomic_write
from sql.archive.manifest import ArchiveError
from sql.archive.parquet import ContentsSum, CsvToParquet, Digest, ParquetFile, read_batches, to_csv
from sql.archive.verify import read_contents

HISTORY = "meter_telemetry_history"
COLUMNS = (
    ("recorded_at", "timestamptz"),
    ("ingested_at", "timestamptz"),
    ("kwh_consumed_ac", "float8"),
    ("voltage", "float8"),
    ("meter_id", "text"),
    ("derived", "bool"),
)
BEGIN = datetime(2020, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
LAG = timedelta(milliseconds=430)
INSTANTS = st.one_of(
    st.integers(0, 10**12).map(lambda ms: BEGIN + timedelta(milliseconds=ms)),
    st.integers(0, 10**15).map(lambda us: BEGIN + timedelta(microseconds=us)),
)
VALUES = st.one_of(
    st.integers(0, 10**6).map(lambda number: number / 10), st.integers(0, 10**9).map(lambda number: number / 10**6),
    st.floats(0, 1e9), st.sampled_from([0.0, -0.0, 1e-9, 5e-324, 0.1 + 0.2, 4503599627.370497]),
)  # fmt: skip
ROWS = st.lists(
    st.tuples(
        INSTANTS,
        st.integers(-(10**12), 10**12).map(lambda ms: timedelta(milliseconds=ms)),
        VALUES,
        st.one_of(st.none(), VALUES, st.floats(allow_nan=False)),
        st.text("aZ09._:-", min_size=1, max_size=64),
        st.sampled_from([None, True, False]),
        st.integers(-(2**63), 2**63 - 1),
    ),
    max_size=30,
)


def as_read(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Rows as the database has them: `ingested_at` is an instant in whole milliseconds, and the hash of the row is not stored."""
    return [(at, _whole_milliseconds(at) + lag, *values[:-1]) for at, lag, *values in rows]


def _whole_milliseconds(at: datetime) -> datetime:
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def as_csv(rows: list[tuple[Any, ...]]) -> bytes:
    """Rows as CSV in the format of COPY."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for (at, ingested, kwh, voltage, device, derived), number in zip(
        as_read(rows), (row[-1] for row in rows), strict=True
    ):
        numbers = ("" if each is None else repr(each) for each in (kwh, voltage))
        flag = {None: "", True: "t", False: "f"}[derived]
        writer.writerow([at.isoformat(" "), ingested.isoformat(" "), *numbers, device, flag, number])
    return text.getvalue().encode()


def write(path: Path, sent: bytes, chunk: int) -> CsvToParquet:
    """Write a file as the export does, with the CSV in chunks."""
    with CsvToParquet(path, HISTORY, COLUMNS) as writer:
        for start in range(0, len(sent), chunk):
            if writer.buffer(sent[start : start + chunk]):
                writer.flush()
        writer.flush(last=True)
    return writer


def bits(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """A row with the bits of its numbers, because 0.0 equals -0.0."""
    return tuple(struct.pack("d", each) if isinstance(each, float) else each for each in row)


@settings(deadline=None)
@given(ROWS, st.integers(1, 400), st.integers(1, 200), st.integers(1, 12))
def test_rows_survive_a_round_trip(rows: list[tuple[Any, ...]], parsed: int, chunk: int, group: int) -> None:
    with TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "CSV_BYTES", parsed)
        patch.setattr(parquet, "ROWS_PER_GROUP", group)
        path = Path(directory) / "file"
        writer = write(path, as_csv(rows), chunk)
        names = [name for name, _ in COLUMNS]
        batches = list(read_batches(path, names))
        found, written = read_contents(path, HISTORY), writer.contents.result()
        groups = pq.read_metadata(path).num_row_groups
        assert [each.name for each in Path(directory).iterdir()] == ["file"], "no file is left from widening"
    back = [tuple(row.values()) for batch in batches for row in batch.to_pylist()]
    assert [bits(row) for row in back] == [bits(row) for row in as_read(rows)]
    assert found == written.without_fingerprint() or not rows
    assert groups == max(1, -(-len(rows) // group))
    assert written.readings == len(rows)
    assert written.derived == sum(row[5] is True for row in rows)
    assert written.energy_mwh == sum(round(row[2] * 1e6) for row in rows)
    assert written.first == min((row[0] for row in rows), default=None)
    assert written.last == max((row[0] for row in rows), default=None)
    assert written.fingerprint == sum(row[6] for row in rows) % 2**64
    assert b"".join(to_csv(batch) for batch in batches).count(b"\n") == len(rows)
    digest = Digest()
    for batch in batches:
        digest.add(batch)
    assert digest.result() == writer.digest.result()


def fleet(devices: int, readings: int, last_value: float = 230.4) -> list[tuple[Any, ...]]:
    """Readings of devices in their order, of which the very last has this voltage."""
    rows = [
        (BEGIN + minute * MINUTE + device * LAG, LAG, minute % 50 / 1000, 230.1, f"METER-{device:03d}", None, 7)
        for device in range(devices)
        for minute in range(readings)
    ]
    rows[-1] = (*rows[-1][:3], last_value, *rows[-1][4:])
    return rows


def test_values_are_stored_as_types_that_any_reader_of_parquet_knows(tmp_path: Path) -> None:
    write(tmp_path / "file", as_csv(fleet(2, 10)), 1000)
    types = {field.name: str(field.type) for field in pq.read_schema(tmp_path / "file")}
    assert types == {
        "recorded_at": "timestamp[ms, tz=UTC]",
        "ingested_after_ms": "int64",
        "kwh_consumed_ac": "decimal64(18, 3)",
        "voltage": "decimal64(18, 1)",
        "meter_id": "string",
        "derived": "bool",
    }
    assert b"ingested_after_ms: milliseconds" in pq.read_schema(tmp_path / "file").metadata[b"description"]


def test_what_devices_repeat_after_many_readings_is_stored_once(tmp_path: Path) -> None:
    dice = Random(1)
    values = [dice.randrange(2**30) / 10**6 for _ in range(30_000)]  # more than a page has by default
    sizes = []
    for name, repeated in (("once", values), ("twice", values * 2)):
        file = ParquetFile(tmp_path / name, HISTORY)
        file.write(pa.table({"kwh_consumed_ac": repeated}))
        file.close()
        sizes.append((tmp_path / name).stat().st_size)
    assert sizes[1] < 1.1 * sizes[0]


@pytest.mark.parametrize(("value", "stored"), [(230.4567, "decimal64(18, 4)"), (230.4 / 7, "double"), (-0.0, "double")])
def test_a_value_that_does_not_fit_widens_its_column_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float, stored: str
) -> None:
    monkeypatch.setattr(parquet, "ROWS_PER_GROUP", 4)
    rows = fleet(3, 10, value)
    write(tmp_path / "file", as_csv(rows), 1000)
    types = {field.name: str(field.type) for field in pq.read_schema(tmp_path / "file")}
    assert (types["voltage"], types["kwh_consumed_ac"]) == (stored, "decimal64(18, 3)")
    read = [tuple(row.values())[:4] for batch in read_batches(tmp_path / "file") for row in batch.to_pylist()]
    assert read == [row[:4] for row in as_read(rows)]


def test_row_groups_have_statistics_of_the_device_and_the_instant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "ROWS_PER_GROUP", 10)
    write(tmp_path / "file", as_csv(fleet(3, 10)), 1000)
    found = pq.read_metadata(tmp_path / "file")
    columns = [found.row_group(0).column(number).path_in_schema for number in range(found.num_columns)]
    device = columns.index("meter_id")
    spans = [found.row_group(group).column(device).statistics for group in range(found.num_row_groups)]
    assert [(each.min, each.max) for each in spans] == [(f"METER-{number:03d}",) * 2 for number in range(3)]


@pytest.mark.parametrize("column", [name for name, _ in COLUMNS])
def test_the_digest_sees_a_difference_in_any_column(tmp_path: Path, column: str) -> None:
    write(tmp_path / "file", as_csv(fleet(2, 10)), 1000)
    (batch,) = read_batches(tmp_path / "file")
    shifted = {name: batch[name] for name in batch.schema.names}
    shifted[column] = shifted[column].slice(1)
    original, changed = Digest(), Digest()
    original.add(batch)
    changed.add(type(batch).from_pydict({column: shifted[column]}))
    assert changed.result() != {key: value for key, value in original.result().items() if key in changed.result()}


def test_contents_of_nothing(tmp_path: Path) -> None:
    write(tmp_path / "file", b"", 1000)
    assert read_contents(tmp_path / "file", HISTORY) == ContentsSum(HISTORY).result()


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1PAR1PAR1", b"not parquet"])
def test_a_file_that_is_not_parquet_raises_an_archive_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.parquet"
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match="Fetch another copy"):
        read_contents(path, HISTORY)


def test_a_failed_atomic_write_leaves_no_file(tmp_path: Path) -> None:
    def fail() -> None:
        with atomic_write(tmp_path / "file") as partial:
            partial.write_text("half")
            raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        fail()
    assert list(tmp_path.iterdir()) == []
