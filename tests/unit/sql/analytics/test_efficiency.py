"""Energy sums -> efficiency and status."""

from typing import Any

import pytest
from msgspec.structs import replace

from sql.analytics.efficiency import EnergySums, Side, Thresholds, assess_efficiency

LIMITS = Thresholds(fault_below=85, degraded_below=90, min_energy_kwh=1, min_coverage=0.8, max_reading_gap=0.02)
DAY = 86400.0


def sums(ac: Side, dc: Side, *, assigned_seconds: float | None = DAY, **compared: Any) -> EnergySums:
    """A day whose readings are compared whole, unless other sums are given as ac_compared and dc_compared."""
    return EnergySums(DAY, assigned_seconds, 1440, ac, dc, **{"ac_compared": ac, "dc_compared": dc, **compared})


AC, NOTHING = Side(100.0, 1440), Side(0.0, 0)


@pytest.mark.parametrize(
    ("dc", "ratio", "status"),
    [(95.0, 95.0, "healthy"), (90.0, 90.0, "healthy"), (89.99, 89.99, "degraded"), (85.0, 85.0, "degraded"),
     (84.99, 84.99, "faulty"), (0.0, 0.0, "faulty"), (100.0, 100.0, "healthy"), (100.01, 100.01, "implausible")],
)  # fmt: skip
def test_the_ratio_of_a_complete_day_decides_its_status(dc: float, ratio: float, status: str) -> None:
    found = assess_efficiency(sums(AC, Side(dc, 1440)), LIMITS)
    assert (found.ratio, found.status, found.ac_coverage, found.dc_coverage) == (ratio, status, 1.0, 1.0)


def test_one_reading_per_side_gives_a_ratio_with_insufficient_data() -> None:
    found = assess_efficiency(sums(Side(45.23, 1), Side(32.15, 1)), LIMITS)
    assert (found.ratio, found.status) == (71.08, "insufficient_data")


@pytest.mark.parametrize("assigned", [None, 0.0])
def test_without_a_meter_there_is_no_ratio_and_no_ac_coverage(assigned: float | None) -> None:
    found = assess_efficiency(sums(NOTHING, Side(93.0, 1440), assigned_seconds=assigned), LIMITS)
    assert (found.ratio, found.ac_coverage, found.status, found.dc_coverage) == (None, None, "unassigned", 1.0)
    assert "no meter" in found.reason


def test_a_day_without_readings_has_no_ratio() -> None:
    found = assess_efficiency(sums(NOTHING, NOTHING), LIMITS)
    assert (found.ratio, found.status, found.ac_coverage, found.dc_coverage) == (None, "insufficient_data", 0.0, 0.0)


@pytest.mark.parametrize(("points", "status"), [(1151, "insufficient_data"), (1152, "healthy")])
def test_four_fifths_of_the_readings_are_required(points: int, status: str) -> None:
    assert assess_efficiency(sums(Side(100, points), Side(93, points)), LIMITS).status == status


def test_coverage_refers_to_the_assigned_time() -> None:
    hour = assess_efficiency(sums(Side(10, 60), Side(9.5, 60), assigned_seconds=3600), LIMITS)
    assert (hour.ratio, hour.ac_coverage, hour.dc_coverage, hour.status) == (95.0, 1.0, 1.0, "healthy")


@pytest.mark.parametrize(("missing", "status"), [(0, "degraded"), (28, "degraded"), (29, "insufficient_data")])
@pytest.mark.parametrize("side", ["ac", "dc"])
@pytest.mark.parametrize("part", ["", "_compared"], ids=["with the tail", "without the tail"])
def test_a_gap_on_one_side_is_insufficient_data(missing: int, status: str, side: str, part: str) -> None:
    complete = sums(AC, Side(88, 1440))
    incomplete = replace(getattr(complete, side + part), points=1440 - missing)
    found = assess_efficiency(replace(complete, **{side + part: incomplete}), LIMITS)
    assert found.status == status
    assert found.ratio == 88.0, "the ratio is given nevertheless"


def test_a_negligible_amount_of_ac_energy_gives_no_ratio() -> None:
    found = assess_efficiency(sums(Side(1e-310, 1440), Side(1.0, 1440)), LIMITS)
    assert (found.ratio, found.status) == (None, "insufficient_data")


def test_the_tail_of_one_side_is_not_compared() -> None:
    compared = Side(10.0, 1433)
    found = assess_efficiency(sums(Side(12.0, 1440), Side(9.5, 1433), ac_compared=compared), LIMITS)
    assert (found.ratio, found.status) == (95.0, "healthy")
    assert (found.ac_coverage, found.dc_coverage) == (1.0, round(1433 / 1440, 4)), "of the whole window"


@pytest.mark.parametrize(("ac", "dc"), [(AC, NOTHING), (NOTHING, Side(93.0, 1440))])
def test_one_side_alone_gives_no_ratio(ac: Side, dc: Side) -> None:
    found = assess_efficiency(sums(ac, dc), LIMITS)
    assert (found.ratio, found.status) == (None, "insufficient_data")


def test_single_readings_without_a_common_minute_are_compared_nevertheless() -> None:
    found = assess_efficiency(sums(Side(45.23, 1), Side(32.15, 1), dc_compared=NOTHING), LIMITS)
    assert (found.ratio, found.status) == (71.08, "insufficient_data")
