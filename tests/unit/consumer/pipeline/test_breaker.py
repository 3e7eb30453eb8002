"""The window of the circuit breaker."""

from hypothesis import given
from hypothesis import strategies as st

from consumer.pipeline.breaker import Window

PORTIONS = st.lists(
    st.integers(1, 300).flatmap(lambda records: st.tuples(st.just(records), st.integers(0, records))), max_size=30
)


@given(PORTIONS, st.integers(1, 500))
def test_the_window_holds_the_fewest_last_portions_that_fill_it(portions: list[tuple[int, int]], size: int) -> None:
    window = Window(size)
    for records, rejected in portions:
        window.add(records, rejected)

    last: list[tuple[int, int]] = []
    for portion in reversed(portions):
        if sum(records for records, _ in last) >= size:
            break
        last.append(portion)
    assert (window.records, window.rejected) == (
        sum(records for records, _ in last),
        sum(rejected for _, rejected in last),
    )


def test_only_a_full_window_can_exceed_the_share() -> None:
    window = Window(100)
    window.add(99, 99)
    assert not window.exceeds(0.5)
    window.add(1, 0)
    assert window.exceeds(0.5)
    window.add(100, 50)
    assert not window.exceeds(0.5), "exactly the share is not more than the share"
    assert not window.exceeds(1)
