"""Rows through Parquet and back: every value as it was, whatever pieces the database sends them in."""

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
from sql.archive.manifest import ArchiveError, put_aside, read_contents
from sql.archive.parquet import Writer, as_csv, batches

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


def lines(rows: list[tuple[Any, ...]]) -> bytes:
    """As COPY sends them."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for at, kwh, device, derived, number in rows:
        writer.writerow([at.isoformat(" "), repr(kwh), device, {None: "", True: "t", False: "f"}[derived], number])
    return text.getvalue().encode()


@settings(deadline=None)
@given(ROWS, st.integers(1, 400), st.integers(1, 200))
def test_rows_come_back_as_they_were(rows: list[tuple[Any, ...]], group: int, piece: int) -> None:
    sent = lines(rows)
    with TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "GROUP_BYTES", group)
        path = Path(directory) / "file"
        with Writer(path, HISTORY, COLUMNS) as writer:
            for begins in range(0, len(sent), piece):
                if writer.take(sent[begins : begins + piece]):
                    writer.flush()
            writer.flush(last=True)
        back = [tuple(row.values()) for batch in batches(path) for row in batch.to_pylist()]
        found, written = read_contents(path, HISTORY), writer.tally.contents()
        copied = b"".join(as_csv(batch) for batch in batches(path))
    assert back == [row[:4] for row in rows]
    assert found == written.without_fingerprint() or not rows
    assert written.readings == len(rows)
    assert written.derived == sum(row[3] is True for row in rows)
    assert written.energy_mwh == sum(round(row[1] * 1e6) for row in rows)
    assert written.first == min((row[0] for row in rows), default=None)
    assert written.last == max((row[0] for row in rows), default=None)
    assert written.fingerprint == sum(row[4] for row in rows) % 2**64
    assert copied.count(b"\n") == len(rows)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1PAR1PAR1", b"nothing of the kind"])
def test_what_is_no_parquet_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.parquet"
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match="Fetch another copy"):
        read_contents(path, HISTORY)


def test_a_file_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail() -> None:
        with put_aside(tmp_path / "file") as aside:
            aside.write_text("half")
            raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        fail()
    assert list(tmp_path.iterdir()) == []
