"""Energy sums of a time window -> efficiency ratio, coverage and status with its reason."""

from dataclasses import dataclass
from datetime import timedelta
from math import inf, isfinite
from typing import Any, Final

from schemas.config.settings import JudgementSettings
from schemas.responses.base import Judgement

WINDOW: Final = timedelta(hours=24)
SECONDS_PER_READING: Final = 60.0
DIGITS: Final = 2
# Readings by which the two sides may always differ: one of them is usually a little later than the other.
MIN_READING_GAP: Final = 2


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Limits in % below which a ratio is a fault or degraded, and the data required to assess it.

    Required are `min_energy_kwh` of AC energy and a `min_coverage` share of the expected readings on both sides. The sides may
    differ by a `max_reading_gap` share of the expected readings.
    """

    fault_below: float
    degraded_below: float
    min_energy_kwh: float
    min_coverage: float
    max_reading_gap: float

    @classmethod
    def from_settings(cls, settings: JudgementSettings) -> "Thresholds":
        return cls(
            settings.fault_below_percent,
            settings.degraded_below_percent,
            settings.judge_from_kwh,
            settings.judge_from_coverage,
            settings.judge_sides_apart,
        )


@dataclass(frozen=True, slots=True)
class EnergySums:
    """Energy (kWh) and readings of a vehicle in a window, per side, and for how many seconds it was assigned to a meter.

    `dc_kwh_assigned` and `dc_points_assigned` cover only the assigned time, like the AC side, so that the ratio is meaningful.
    """

    window_seconds: float
    assigned_seconds: float | None
    ac_kwh: float
    ac_points: int
    dc_points: int
    dc_kwh_assigned: float
    dc_points_assigned: int

    @classmethod
    def from_row(cls, row: Any) -> "EnergySums":
        """From a row of the query `energy_of`."""
        return cls(
            window_seconds=(row["closes"] - row["opens"]).total_seconds(),
            assigned_seconds=row["assigned_seconds"],
            ac_kwh=row["ac_kwh"],
            ac_points=row["ac_points"],
            dc_points=row["dc_points"],
            dc_kwh_assigned=row["dc_kwh_assigned"],
            dc_points_assigned=row["dc_points_assigned"],
        )


@dataclass(frozen=True, slots=True)
class Efficiency:
    """The ratio in %, the share of expected readings on each side (0 to 1), and the status with its reason."""

    ratio: float | None
    ac_coverage: float | None
    dc_coverage: float
    status: Judgement
    reason: str


def assess_efficiency(sums: EnergySums, thresholds: Thresholds) -> Efficiency:
    if not sums.assigned_seconds:
        reason = "no meter was assigned to the vehicle in this window, so the energy drawn is not known"
        return Efficiency(None, None, _coverage(sums.dc_points, sums.window_seconds), "unassigned", reason)
    ratio = _ratio(sums)
    ac = _coverage(sums.ac_points, sums.assigned_seconds)
    dc = _coverage(sums.dc_points_assigned, sums.assigned_seconds)
    status, reason = _status(ratio, sums, min(ac, dc), thresholds)
    return Efficiency(ratio, ac, dc, status, reason)


def _ratio(sums: EnergySums) -> float | None:
    """None without AC energy, and with so little that the quotient overflows."""
    ratio = round(sums.dc_kwh_assigned / sums.ac_kwh * 100, DIGITS) if sums.ac_kwh else inf
    return ratio if isfinite(ratio) else None


def _coverage(points: int, seconds: float) -> float:
    return round(min(1.0, points * SECONDS_PER_READING / seconds), 4) if seconds else 0.0


def _status(ratio: float | None, sums: EnergySums, coverage: float, thresholds: Thresholds) -> tuple[Judgement, str]:
    if ratio is None:
        return "insufficient_data", "the assigned meters measured no energy in this window"
    if missing := _missing_data(sums, coverage, thresholds):
        return "insufficient_data", missing
    if ratio > 100:  # noqa: PLR2004 - percent
        return (
            "implausible",
            f"more energy came out than went in ({ratio:g} %): the readings or the assignment must be wrong",
        )
    if ratio < thresholds.fault_below:
        return "faulty", f"{ratio:g} % is below {thresholds.fault_below:g} %: a hardware fault"
    if ratio < thresholds.degraded_below:
        return "degraded", f"{ratio:g} % is below {thresholds.degraded_below:g} %: worth an inspection"
    return "healthy", f"{ratio:g} % is at or above {thresholds.degraded_below:g} %"


def _missing_data(sums: EnergySums, coverage: float, thresholds: Thresholds) -> str | None:
    if sums.ac_kwh < thresholds.min_energy_kwh:
        return f"{sums.ac_kwh:.3f} kWh were drawn; the minimum is {thresholds.min_energy_kwh:g} kWh"
    if coverage < thresholds.min_coverage:
        share = f"{coverage:.1%} of the expected readings of one side are present"
        return f"{share}; the minimum is {thresholds.min_coverage:.0%} on both sides"
    gap = abs(sums.ac_points - sums.dc_points_assigned)
    expected = (sums.assigned_seconds or 0.0) / SECONDS_PER_READING
    if gap > max(MIN_READING_GAP, thresholds.max_reading_gap * expected):
        return f"one side has {gap} readings more than the other, so their energies do not cover the same time"
    return None
