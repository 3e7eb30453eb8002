"""The hint that lets most rows take the fast way in: never a row that may be stored already."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from consumer.known import part

DAWN = datetime(2026, 1, 1, tzinfo=UTC)
TIMES = st.integers(0, 8).map(lambda minutes: DAWN + timedelta(minutes=minutes))
DEVICES = st.sampled_from(["a", "b", "c"])


@given(st.lists(st.tuples(DEVICES, TIMES)), st.dictionaries(DEVICES, TIMES))
def test_rows_called_new_are_newer_than_all_known_and_no_row_is_lost(
    identities: list[tuple[str, datetime]], newest: dict[str, datetime]
) -> None:
    rows = sorted((device, at, position, 0.5) for position, (device, at) in enumerate(identities))
    fresh, doubtful = part(rows, newest)

    assert sorted([*fresh, *doubtful]) == rows
    assert len({row[:2] for row in fresh}) == len(fresh)
    assert all(row[0] not in newest or row[1] > newest[row[0]] for row in fresh)
    unseen = {row[:2] for row in rows if row[0] not in newest or row[1] > newest[row[0]]}
    assert {row[:2] for row in fresh} == unseen, "what is certainly new takes the fast way"
