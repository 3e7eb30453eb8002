"""The window of the breaker."""

from hypothesis import given
from hypothesis import strategies as st

from consumer.pipeline.breaker import Window

PORTIONS = st.lists(
    st.integers(1, 300).flatmap(lambda seen: st.tuples(st.just(seen), st.integers(0, seen))), max_size=30
)


@given(PORTIONS, st.integers(1, 500))
def test_the_window_is_the_fewest_last_portions_that_fill_it(portions: list[tuple[int, int]], size: int) -> None:
    window = Window(size)
    for seen, refused in portions:
        window.add(seen, refused)

    last: list[tuple[int, int]] = []
    for portion in reversed(portions):
        if sum(seen for seen, _ in last) >= size:
            break
        last.append(portion)
    assert (window.records, window.rejected) == (sum(seen for seen, _ in last), sum(refused for _, refused in last))


def test_a_share_is_judged_only_of_a_full_window() -> None:
    window = Window(100)
    window.add(99, 99)
    assert not window.exceeds(0.5)
    window.add(1, 0)
    assert window.exceeds(0.5)
    window.add(100, 50)
    assert not window.exceeds(0.5), "exactly the share is not more than the share"
    assert not window.exceeds(1)
