"""How fast a counter grows, from looks at it."""

from api.fleet.reading_rate import ReadingRate


def looks(*seen: tuple[float, int]) -> list[float | None]:
    pace = ReadingRate()
    return [pace.look(at, count) for at, count in seen]


def test_one_look_says_nothing() -> None:
    assert looks((0, 500)) == [None]


def test_two_looks_say_how_fast_it_grew_between_them() -> None:
    assert looks((0, 500), (2, 700)) == [None, 100]


def test_what_is_more_than_ten_seconds_ago_no_longer_counts() -> None:
    steady = [(float(second), 100 * second) for second in range(0, 20, 2)]
    stopped = [(float(second), 1800) for second in range(20, 40, 2)]
    found = looks(*steady, *stopped)
    assert set(found[1:10]) == {100}
    assert 0 < (found[12] or 0) < 100
    assert found[-1] == 0


def test_looks_far_apart_are_compared_and_those_of_long_ago_are_not() -> None:
    assert looks((0, 0), (30, 300), (60, 900)) == [None, 10, 20]
    assert looks((0, 0), (61, 900), (63, 920)) == [None, None, 10]


def test_looks_close_to_one_another_do_not_make_it_jump() -> None:
    assert looks((0, 0), (0.001, 50)) == [None, None]
    assert looks((0, 0), (5, 500), (5.001, 600)) == [None, 100, 120]


def test_a_counter_that_began_anew_is_looked_at_anew() -> None:
    assert looks((0, 1000), (2, 1200), (4, 10), (6, 30)) == [None, 100, None, 10]
