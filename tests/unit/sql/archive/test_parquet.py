"""Round trips through Parquet: every value survives, in whatever chunks the database sends the rows."""

import csv
import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sql.archive import parquet
from sql.archive.atomic_files import atomic_write
from sql.archive.manifest import ArchiveError
from sql.archive.parquet import CsvToParquet, read_batches, to_csv
from sql.archive.verify import read_contents

HISTORY = "meter_telemetry_history"
COLUMNS = (("recorded_at", "timestamptz"), ("kwh_consumed_ac", "float8"), ("meter_id", "text"), ("derived", "bool"))
BEGIN = datetime(2020, 1, 1, tzinfo=UTC)
ROWS = st.lists(
    st.tuples(
        st.integers(0, 10**15).map(lambda microseconds: BEGIN + timedelta(microseconds=microseconds)),
        st.floats(0, 1e9),
        st.text("aZ09._:-", min_size=1, max_size=64),
        st.sampled_from([None, True, False]),
        st.integers(-(2**63), 2**63 - 1),
    ),
    max_size=30,
)


def as_csv(rows: list[tuple[Any, ...]]) -> bytes:
    """Rows as CSV in the format of COPY."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for at, kwh, device, derived, number in rows:
        writer.writerow([at.isoformat(" "), repr(kwh), device, {None: "", True: "t", False: "f"}[derived], number])
    return text.getvalue().encode()


@settings(deadline=None)
@given(ROWS, st.integers(1, 400), st.integers(1, 200))
def test_rows_survive_a_round_trip(rows: list[tuple[Any, ...]], group: int, chunk: int) -> None:
    sent = as_csv(rows)
    with TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "ROW_GROUP_BYTES", group)
        path = Path(directory) / "file"
        with CsvToParquet(path, HISTORY, COLUMNS) as writer:
            for start in range(0, len(sent), chunk):
                if writer.buffer(sent[start : start + chunk]):
                    writer.flush()
            writer.flush(last=True)
        back = [tuple(row.values()) for batch in read_batches(path) for row in batch.to_pylist()]
        found, written = read_contents(path, HISTORY), writer.contents.result()
        copied = b"".join(to_csv(batch) for batch in read_batches(path))
    assert back == [row[:4] for row in rows]
    assert found == written.without_fingerprint() or not rows
    assert written.readings == len(rows)
    assert written.derived == sum(row[3] is True for row in rows)
    assert written.energy_mwh == sum(round(row[1] * 1e6) for row in rows)
    assert written.first == min((row[0] for row in rows), default=None)
    assert written.last == max((row[0] for row in rows), default=None)
    assert written.fingerprint == sum(row[4] for row in rows) % 2**64
    assert copied.count(b"\n") == len(rows)


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
