"""Energy sums -> efficiency and status."""

from dataclasses import replace

import pytest

from sql.analytics.efficiency import EnergySums, Thresholds, assess_efficiency

LIMITS = Thresholds(fault_below=85, degraded_below=90, min_energy_kwh=1, min_coverage=0.8, max_reading_gap=0.02)
DAY = 86400.0
FULL = EnergySums(DAY, DAY, 100.0, 1440, 1440, 93.0, 1440)


@pytest.mark.parametrize(
    ("dc", "ratio", "status"),
    [(95.0, 95.0, "healthy"), (90.0, 90.0, "healthy"), (89.99, 89.99, "degraded"), (85.0, 85.0, "degraded"),
     (84.99, 84.99, "faulty"), (0.0, 0.0, "faulty"), (100.0, 100.0, "healthy"), (100.01, 100.01, "implausible")],
)  # fmt: skip
def test_the_ratio_of_a_complete_day_decides_its_status(dc: float, ratio: float, status: str) -> None:
    found = assess_efficiency(replace(FULL, dc_kwh_assigned=dc), LIMITS)
    assert (found.ratio, found.status, found.ac_coverage, found.dc_coverage) == (ratio, status, 1.0, 1.0)


def test_one_reading_per_side_gives_a_ratio_with_insufficient_data() -> None:
    found = assess_efficiency(EnergySums(DAY, DAY, 45.23, 1, 1, 32.15, 1), LIMITS)
    assert (found.ratio, found.status) == (71.08, "insufficient_data")


@pytest.mark.parametrize("assigned", [None, 0.0])
def test_without_a_meter_there_is_no_ratio_and_no_ac_coverage(assigned: float | None) -> None:
    found = assess_efficiency(replace(FULL, assigned_seconds=assigned, ac_kwh=0, ac_points=0), LIMITS)
    assert (found.ratio, found.ac_coverage, found.status, found.dc_coverage) == (None, None, "unassigned", 1.0)
    assert "no meter" in found.reason


def test_a_day_without_readings_has_no_ratio() -> None:
    found = assess_efficiency(EnergySums(DAY, DAY, 0, 0, 0, 0, 0), LIMITS)
    assert (found.ratio, found.status, found.ac_coverage, found.dc_coverage) == (None, "insufficient_data", 0.0, 0.0)


@pytest.mark.parametrize(("points", "status"), [(1151, "insufficient_data"), (1152, "healthy")])
def test_four_fifths_of_the_readings_are_required(points: int, status: str) -> None:
    assert assess_efficiency(replace(FULL, ac_points=points, dc_points_assigned=points), LIMITS).status == status


def test_coverage_refers_to_the_assigned_time() -> None:
    hour = assess_efficiency(EnergySums(DAY, 3600, 10, 60, 1440, 9.5, 60), LIMITS)
    assert (hour.ratio, hour.ac_coverage, hour.dc_coverage, hour.status) == (95.0, 1.0, 1.0, "healthy")


@pytest.mark.parametrize(("missing", "status"), [(0, "degraded"), (28, "degraded"), (29, "insufficient_data")])
@pytest.mark.parametrize("side", ["ac_points", "dc_points_assigned"])
def test_a_gap_on_one_side_is_insufficient_data(missing: int, status: str, side: str) -> None:
    found = assess_efficiency(replace(FULL, dc_kwh_assigned=88.0, **{side: 1440 - missing}), LIMITS)
    assert found.status == status
    assert found.ratio == 88.0, "the ratio is given nevertheless"


def test_a_negligible_amount_of_ac_energy_gives_no_ratio() -> None:
    found = assess_efficiency(replace(FULL, ac_kwh=1e-310, dc_kwh_assigned=1.0), LIMITS)
    assert (found.ratio, found.status) == (None, "insufficient_data")
