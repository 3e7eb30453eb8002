"""The growth rate of a counter, from observations of it."""

from api.fleet.reading_rate import ReadingRate


def rates(*observations: tuple[float, int]) -> list[float | None]:
    rate = ReadingRate()
    return [rate.observe(at, count) for at, count in observations]


def test_one_observation_gives_no_rate() -> None:
    assert rates((0, 500)) == [None]


def test_two_observations_give_the_rate_between_them() -> None:
    assert rates((0, 500), (2, 700)) == [None, 100]


def test_only_the_last_ten_seconds_count() -> None:
    steady = [(float(second), 100 * second) for second in range(0, 20, 2)]
    stopped = [(float(second), 1800) for second in range(20, 40, 2)]
    found = rates(*steady, *stopped)
    assert set(found[1:10]) == {100}
    assert 0 < (found[12] or 0) < 100
    assert found[-1] == 0


def test_observations_further_apart_are_compared_up_to_a_minute() -> None:
    assert rates((0, 0), (30, 300), (60, 900)) == [None, 10, 20]
    assert rates((0, 0), (61, 900), (63, 920)) == [None, None, 10]


def test_observations_in_quick_succession_do_not_make_the_rate_jump() -> None:
    assert rates((0, 0), (0.001, 50)) == [None, None]
    assert rates((0, 0), (5, 500), (5.001, 600)) == [None, 100, 120]


def test_a_counter_that_was_reset_starts_a_new_rate() -> None:
    assert rates((0, 1000), (2, 1200), (4, 10), (6, 30)) == [None, 100, None, 10]
