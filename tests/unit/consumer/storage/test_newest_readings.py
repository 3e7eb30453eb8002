"""The hint that lets most rows take the fast way in: never a row that may be stored already."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from consumer.records.rows import RowBuffer
from consumer.storage.newest_readings import in_order, part

DAWN = datetime(2026, 1, 1, tzinfo=UTC)
TIMES = st.integers(0, 8).map(lambda minutes: DAWN + timedelta(minutes=minutes))
DEVICES = st.sampled_from(["a", "b", "c"])


@given(st.lists(st.tuples(DEVICES, TIMES)), st.dictionaries(DEVICES, TIMES))
def test_rows_called_new_are_newer_than_all_known_and_no_row_is_lost(
    identities: list[tuple[str, datetime]], newest: dict[str, datetime]
) -> None:
    rows = [(device, at, position) for position, (device, at) in enumerate(identities)]
    arrived = RowBuffer()
    arrived.add(rows, rows)
    parted = part(arrived.by_device, newest)
    fresh, doubtful = parted.fresh, parted.possible_duplicates

    assert sorted([*fresh, *doubtful]) == sorted(rows)
    assert len({row[:2] for row in fresh}) == len(fresh)
    assert fresh == sorted(fresh)
    assert doubtful == sorted(doubtful), "copies of one reading stay in the order of arrival"
    assert parted.oldest == min((row[1] for row in fresh), default=None)
    assert parted.newest == [
        max(row for row in fresh if row[0] == device) for device in sorted({row[0] for row in fresh})
    ]
    assert all(row[0] not in newest or row[1] > newest[row[0]] for row in fresh)
    unseen = {row[:2] for row in rows if row[0] not in newest or row[1] > newest[row[0]]}
    assert {row[:2] for row in fresh} == unseen, "what is certainly new takes the fast way"


@given(st.lists(st.tuples(DEVICES, TIMES)))
def test_rows_are_put_in_order_and_copies_stay_in_that_of_arrival(identities: list[tuple[str, datetime]]) -> None:
    rows = [(device, at, position) for position, (device, at) in enumerate(identities)]
    arrived = RowBuffer()
    arrived.add(rows, rows)
    assert in_order(arrived.by_device) == sorted(rows)
