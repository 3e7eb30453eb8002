"""The cache of newest readings: it never takes a row that may be stored already for a new one."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from consumer.records.record_type import Row
from consumer.records.row_buffer import RowBuffer
from consumer.storage.newest_readings import in_order, split_rows
from tests.support.records import records

DAWN = datetime(2026, 1, 1, tzinfo=UTC)
TIMES = st.integers(0, 8).map(lambda minutes: DAWN + timedelta(minutes=minutes))
DEVICES = st.sampled_from(["a", "b", "c"])


def buffer_of(rows: list[Row]) -> RowBuffer:
    buffer = RowBuffer()
    buffer.add(rows, records([None] * len(rows)))
    return buffer


@given(st.lists(st.tuples(DEVICES, TIMES)), st.dictionaries(DEVICES, TIMES))
def test_new_rows_are_newer_than_every_cached_reading_and_no_row_is_lost(
    identities: list[tuple[str, datetime]], newest: dict[str, datetime]
) -> None:
    rows: list[Row] = [(device, at, position) for position, (device, at) in enumerate(identities)]
    by_device = buffer_of(rows).by_device
    split = split_rows(by_device, sorted(by_device), map(newest.get, sorted(by_device)))
    new, possible_duplicates = split.new, split.possible_duplicates

    assert sorted([*new, *possible_duplicates]) == sorted(rows)
    assert len({row[:2] for row in new}) == len(new)
    assert new == sorted(new)
    assert possible_duplicates == sorted(possible_duplicates), "copies of one reading stay in the order of arrival"
    assert split.oldest == min((row[1] for row in new), default=None)
    assert split.newest == [max(row for row in new if row[0] == device) for device in sorted({row[0] for row in new})]
    assert all(row[0] not in newest or row[1] > newest[row[0]] for row in new)
    unseen = {row[:2] for row in rows if row[0] not in newest or row[1] > newest[row[0]]}
    assert {row[:2] for row in new} == unseen, "every row that is certainly new takes the fast path"


@given(st.lists(st.tuples(DEVICES, TIMES)))
def test_rows_are_sorted_and_copies_stay_in_the_order_of_arrival(identities: list[tuple[str, datetime]]) -> None:
    rows: list[Row] = [(device, at, position) for position, (device, at) in enumerate(identities)]
    assert in_order(buffer_of(rows).by_device) == sorted(rows)
