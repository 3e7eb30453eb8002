"""From sums to a judgement."""

from dataclasses import replace

import pytest

from sql.analytics.efficiency import EnergySums, Thresholds, judge

LIMITS = Thresholds(fault_below=85, degraded_below=90, energy_kwh=1, coverage=0.8, apart=0.02)
DAY = 86400.0
FULL = EnergySums(DAY, DAY, 100.0, 1440, 1440, 93.0, 1440)


@pytest.mark.parametrize(
    ("dc", "ratio", "status"),
    [(95.0, 95.0, "healthy"), (90.0, 90.0, "healthy"), (89.99, 89.99, "degraded"), (85.0, 85.0, "degraded"),
     (84.99, 84.99, "faulty"), (0.0, 0.0, "faulty"), (100.0, 100.0, "healthy"), (100.01, 100.01, "implausible")],
)  # fmt: skip
def test_a_covered_day_is_judged_by_its_ratio(dc: float, ratio: float, status: str) -> None:
    found = judge(replace(FULL, dc_kwh_assigned=dc), LIMITS)
    assert (found.ratio, found.status, found.ac_coverage, found.dc_coverage) == (ratio, status, 1.0, 1.0)


def test_one_reading_a_side_gives_a_ratio_that_nobody_may_act_on() -> None:
    found = judge(EnergySums(DAY, DAY, 45.23, 1, 1, 32.15, 1), LIMITS)
    assert (found.ratio, found.status) == (71.08, "insufficient_data")


@pytest.mark.parametrize("assigned", [None, 0.0])
def test_without_a_meter_there_is_neither_ratio_nor_coverage_of_that_side(assigned: float | None) -> None:
    found = judge(replace(FULL, assigned_seconds=assigned, ac_kwh=0, ac_points=0), LIMITS)
    assert (found.ratio, found.ac_coverage, found.status, found.dc_coverage) == (None, None, "unassigned", 1.0)
    assert "no meter" in found.reason


def test_a_silent_day_has_no_ratio() -> None:
    found = judge(EnergySums(DAY, DAY, 0, 0, 0, 0, 0), LIMITS)
    assert (found.ratio, found.status, found.ac_coverage, found.dc_coverage) == (None, "insufficient_data", 0.0, 0.0)


@pytest.mark.parametrize(("points", "status"), [(1151, "insufficient_data"), (1152, "healthy")])
def test_it_takes_four_fifths_of_the_readings_to_judge(points: int, status: str) -> None:
    assert judge(replace(FULL, ac_points=points, dc_points_assigned=points), LIMITS).status == status


def test_coverage_is_of_the_assigned_time() -> None:
    hour = judge(EnergySums(DAY, 3600, 10, 60, 1440, 9.5, 60), LIMITS)
    assert (hour.ratio, hour.ac_coverage, hour.dc_coverage, hour.status) == (95.0, 1.0, 1.0, "healthy")


@pytest.mark.parametrize(("missing", "status"), [(0, "degraded"), (28, "degraded"), (29, "insufficient_data")])
@pytest.mark.parametrize("side", ["ac_points", "dc_points_assigned"])
def test_a_gap_on_one_side_alone_is_no_judgement(missing: int, status: str, side: str) -> None:
    found = judge(replace(FULL, dc_kwh_assigned=88.0, **{side: 1440 - missing}), LIMITS)
    assert found.status == status
    assert found.ratio == 88.0, "it is given all the same"


def test_next_to_nothing_drawn_gives_no_ratio() -> None:
    found = judge(replace(FULL, ac_kwh=1e-310, dc_kwh_assigned=1.0), LIMITS)
    assert (found.ratio, found.status) == (None, "insufficient_data")
