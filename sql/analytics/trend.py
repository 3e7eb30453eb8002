"""Days of a vehicle -> where its efficiency is heading: a straight line with its 95 % interval. Pure.

Least squares over the days that can be judged; the interval is Student's t on the slope's standard error.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from math import sqrt
from statistics import NormalDist, fmean
from typing import Final, Literal

Heading = Literal["steady", "aging", "improving", "insufficient_data"]
WINDOW_DAYS: Final = 30
LEAST_DAYS: Final = 7
HORIZON_DAYS: Final = 180.0  # a decline that takes longer to become a fault is not worth a visit yet


@dataclass(frozen=True, slots=True)
class Day:
    """One UTC day of a vehicle: efficiency in %, None when it cannot be judged."""

    day: date
    ratio: float | None


@dataclass(frozen=True, slots=True)
class Trend:
    """% a day with its 95 % interval, the fitted efficiency of the last day in %, and what to make of it.

    `days` are those that could be judged. `days_until_fault` is when the line crosses the threshold; None when it never does.
    """

    status: Heading
    days: int
    slope: float | None = None
    slope_low: float | None = None
    slope_high: float | None = None
    level: float | None = None
    days_until_fault: float | None = None


def trend(days: Sequence[Day], fault_below: float) -> Trend:
    """What the days say: aging when the decline is certain and becomes a fault within half a year."""
    points = [(each.day.toordinal(), each.ratio) for each in days if each.ratio is not None]
    if len(points) < LEAST_DAYS:
        return Trend("insufficient_data", len(points))
    last = max(each.day for each in days).toordinal()
    slope, error, level = _line(points, last)
    margin = _student(len(points) - 2) * error
    low, high = slope - margin, slope + margin
    until = max(0.0, (level - fault_below) / -slope) if slope < 0 else None
    return Trend(_heading(low, high, until), len(points), slope, low, high, level, until)


def _heading(low: float, high: float, until: float | None) -> Heading:
    if high < 0 and until is not None and until <= HORIZON_DAYS:
        return "aging"
    return "improving" if low > 0 else "steady"


def _line(points: Sequence[tuple[int, float]], at: int) -> tuple[float, float, float]:
    """Slope, its standard error, and the line's value at `at`."""
    middle_x, middle_y = fmean(x for x, _ in points), fmean(y for _, y in points)
    spread = sum((x - middle_x) ** 2 for x, _ in points)
    slope = sum((x - middle_x) * (y - middle_y) for x, y in points) / spread
    residuals = sum((y - middle_y - slope * (x - middle_x)) ** 2 for x, y in points)
    return slope, sqrt(residuals / (len(points) - 2) / spread), middle_y + slope * (at - middle_x)


def _student(freedom: int) -> float:
    """The 97.5 % point of Student's t, from the normal one (Abramowitz and Stegun, 26.7.5); within 0.2 % from 5 degrees on."""
    z = NormalDist().inv_cdf(0.975)
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )
