"""Sums of 24 hours -> ratio, coverage and a judgement with its reason. Pure."""

from dataclasses import dataclass
from datetime import timedelta
from math import inf, isfinite
from typing import Any, Final

from schemas.config.settings import JudgementSettings
from schemas.responses.base import Judgement

WINDOW: Final = timedelta(hours=24)
SECONDS_PER_READING: Final = 60.0
DIGITS: Final = 2
READINGS_APART: Final = 2  # of the two sides, in any window: one of them is always a little later


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When a ratio is a fault, when it deserves a look (both in %), and what it takes to say so.

    That is kWh, the share of expected readings on each side, and by what share of them the two sides may differ.
    """

    fault_below: float
    degraded_below: float
    energy_kwh: float
    coverage: float
    apart: float

    @classmethod
    def of(cls, settings: JudgementSettings) -> "Thresholds":
        """As the environment sets them."""
        return cls(
            settings.fault_below_percent,
            settings.degraded_below_percent,
            settings.judge_from_kwh,
            settings.judge_from_coverage,
            settings.judge_sides_apart,
        )


@dataclass(frozen=True, slots=True)
class EnergySums:
    """What a window holds of a vehicle: kWh and readings of each side, and how many seconds of it the vehicle was assigned.

    `dc_kwh_assigned` and `dc_points_assigned` are of the assigned time only: the ratio compares like with like.
    """

    window_seconds: float
    assigned_seconds: float | None
    ac_kwh: float
    ac_points: int
    dc_points: int
    dc_kwh_assigned: float
    dc_points_assigned: int

    @classmethod
    def of(cls, found: Any) -> "EnergySums":
        """From a row of the query `energy_of`."""
        return cls(
            window_seconds=(found["closes"] - found["opens"]).total_seconds(),
            assigned_seconds=found["assigned_seconds"],
            ac_kwh=found["ac_kwh"],
            ac_points=found["ac_points"],
            dc_points=found["dc_points"],
            dc_kwh_assigned=found["dc_kwh_assigned"],
            dc_points_assigned=found["dc_points_assigned"],
        )


@dataclass(frozen=True, slots=True)
class Efficiency:
    """A ratio in %, the share of expected readings on each side (0 to 1), and what to make of it."""

    ratio: float | None
    ac_coverage: float | None
    dc_coverage: float
    status: Judgement
    reason: str


def judge(sums: EnergySums, thresholds: Thresholds) -> Efficiency:
    """What the sums say of the charger."""
    if not sums.assigned_seconds:
        reason = "no meter was assigned to the vehicle in this window, so the energy drawn is not known"
        return Efficiency(None, None, _coverage(sums.dc_points, sums.window_seconds), "unassigned", reason)
    ratio = _ratio(sums)
    ac = _coverage(sums.ac_points, sums.assigned_seconds)
    dc = _coverage(sums.dc_points_assigned, sums.assigned_seconds)
    status, reason = _verdict(ratio, sums, min(ac, dc), thresholds)
    return Efficiency(ratio, ac, dc, status, reason)


def _ratio(sums: EnergySums) -> float | None:
    """None also where next to nothing was drawn, so that the ratio is no number."""
    ratio = round(sums.dc_kwh_assigned / sums.ac_kwh * 100, DIGITS) if sums.ac_kwh else inf
    return ratio if isfinite(ratio) else None


def _coverage(points: int, seconds: float) -> float:
    return round(min(1.0, points * SECONDS_PER_READING / seconds), 4) if seconds else 0.0


def _verdict(ratio: float | None, sums: EnergySums, coverage: float, thresholds: Thresholds) -> tuple[Judgement, str]:
    if ratio is None:
        return "insufficient_data", "the assigned meters measured no energy in this window"
    if too_little := _too_little(sums, coverage, thresholds):
        return "insufficient_data", too_little
    if ratio > 100:  # noqa: PLR2004 - per cent
        return (
            "implausible",
            f"more energy came out than went in ({ratio:g} %): the data is at fault, or the assignment",
        )
    if ratio < thresholds.fault_below:
        return "faulty", f"{ratio:g} % is below {thresholds.fault_below:g} %: a hardware fault"
    if ratio < thresholds.degraded_below:
        return "degraded", f"{ratio:g} % is below {thresholds.degraded_below:g} %: worth a look"
    return "healthy", f"{ratio:g} % is at or above {thresholds.degraded_below:g} %"


def _too_little(sums: EnergySums, coverage: float, thresholds: Thresholds) -> str | None:
    if sums.ac_kwh < thresholds.energy_kwh:
        return f"{sums.ac_kwh:.3f} kWh were drawn; it takes {thresholds.energy_kwh:g} kWh to judge"
    if coverage < thresholds.coverage:
        share = f"{coverage:.1%} of the expected readings of one side are there"
        return f"{share}; it takes {thresholds.coverage:.0%} on both sides to judge"
    apart = abs(sums.ac_points - sums.dc_points_assigned)
    expected = (sums.assigned_seconds or 0.0) / SECONDS_PER_READING
    if apart > max(READINGS_APART, thresholds.apart * expected):
        return f"one side has {apart} readings more than the other, so their energies are not of the same time"
    return None
