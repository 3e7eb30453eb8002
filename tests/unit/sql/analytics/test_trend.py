"""Efficiency trends."""

from datetime import date, timedelta
from random import Random

import pytest

from sql.analytics.trend import Day, trend

FIRST = date(2026, 3, 1)


def days(*ratios: float | None) -> list[Day]:
    return [Day(FIRST + timedelta(days=number), ratio) for number, ratio in enumerate(ratios)]


def test_an_aging_charger_is_found_before_it_is_faulty() -> None:
    dice = Random(1)
    seen = [93 - 0.1 * day + dice.gauss(0, 0.3) for day in range(30)]
    assert min(seen) > 85
    found = trend(days(*seen), fault_below=85)
    assert found.status == "aging"
    assert found.slope == pytest.approx(-0.1, abs=0.02)
    assert found.slope_low is not None
    assert found.slope_high is not None
    assert found.slope_low < -0.1 < found.slope_high < 0
    assert found.level == pytest.approx(90.1, abs=0.3)
    assert found.days_until_fault == pytest.approx(51, abs=10)


def test_healthy_chargers_are_not_called_aging() -> None:
    found = [
        trend(days(*[93 + Random(seed * 100 + day).gauss(0, 0.5) for day in range(30)]), fault_below=85).status
        for seed in range(200)
    ]
    assert found.count("aging") == 0


def test_a_significant_decline_that_takes_years_is_steady() -> None:
    found = trend(days(*[94 - 0.001 * day for day in range(30)]), fault_below=85)
    assert found.status == "steady"
    assert found.days_until_fault == pytest.approx(8971, abs=30)


def test_days_without_a_ratio_are_ignored_and_too_few_days_give_no_trend() -> None:
    assert trend(days(*[90.0] * 6, *[None] * 24), fault_below=85).status == "insufficient_data"
    found = trend(days(92.0, None, 91.0, None, 90.0, 89.5, None, 89.0, 88.0, 87.5), fault_below=85)
    assert (found.status, found.days) == ("aging", 7)


def test_a_rising_efficiency_is_improving_and_one_below_the_threshold_has_no_days_left() -> None:
    assert trend(days(*[88 + 0.1 * day for day in range(10)]), fault_below=85).status == "improving"
    falling = trend(days(*[86 - 0.2 * day for day in range(10)]), fault_below=85)
    assert (falling.status, falling.days_until_fault) == ("aging", 0.0)


def test_the_interval_covers_the_true_slope_in_95_percent_of_cases() -> None:
    covered = 0
    for seed in range(400):
        dice = Random(seed)
        found = trend(days(*[95 - 0.05 * day + dice.gauss(0, 0.4) for day in range(10)]), fault_below=85)
        assert found.slope_low is not None
        assert found.slope_high is not None
        covered += found.slope_low <= -0.05 <= found.slope_high
    assert 0.92 <= covered / 400 <= 0.98
