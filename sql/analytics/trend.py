"""Daily efficiencies of a vehicle -> trend: a least-squares line with the 95 % confidence interval of its slope.

Only days that could be assessed count. The interval is Student's t times the standard error of the slope.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from math import sqrt
from statistics import NormalDist, fmean
from typing import Final, Literal

TrendStatus = Literal["steady", "aging", "improving", "insufficient_data"]
WINDOW_DAYS: Final = 30
MIN_DAYS: Final = 7
HORIZON_DAYS: Final = 180.0  # a decline that takes longer to become a fault is not worth a visit yet


@dataclass(frozen=True, slots=True)
class Day:
    """One UTC day of a vehicle; `ratio` is the efficiency in %, None when it could not be assessed."""

    day: date
    ratio: float | None


@dataclass(frozen=True, slots=True)
class Trend:
    """Slope in % a day with its 95 % interval, the fitted efficiency of the last day in %, and the status.

    `days` counts the days that could be assessed. `days_until_fault` is the time until the line crosses the fault threshold, None
    when it never does.
    """

    status: TrendStatus
    days: int
    slope: float | None = None
    slope_low: float | None = None
    slope_high: float | None = None
    level: float | None = None
    days_until_fault: float | None = None


def trend(days: Sequence[Day], fault_below: float) -> Trend:
    """The trend of consecutive days: `aging` when the decline is significant and becomes a fault within HORIZON_DAYS."""
    points = [(each.day.toordinal(), each.ratio) for each in days if each.ratio is not None]
    if len(points) < MIN_DAYS:
        return Trend("insufficient_data", len(points))
    last = max(each.day for each in days).toordinal()
    slope, error, level = _fit_line(points, last)
    margin = _student_t(len(points) - 2) * error
    low, high = slope - margin, slope + margin
    until_fault = max(0.0, (level - fault_below) / -slope) if slope < 0 else None
    return Trend(_status(low, high, until_fault), len(points), slope, low, high, level, until_fault)


def _status(low: float, high: float, until_fault: float | None) -> TrendStatus:
    if high < 0 and until_fault is not None and until_fault <= HORIZON_DAYS:
        return "aging"
    return "improving" if low > 0 else "steady"


def _fit_line(points: Sequence[tuple[int, float]], at: int) -> tuple[float, float, float]:
    """Slope, its standard error, and the value of the line at `at`."""
    mean_x, mean_y = fmean(x for x, _ in points), fmean(y for _, y in points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    residuals = sum((y - mean_y - slope * (x - mean_x)) ** 2 for x, y in points)
    return slope, sqrt(residuals / (len(points) - 2) / spread), mean_y + slope * (at - mean_x)


def _student_t(freedom: int) -> float:
    """The 97.5 % quantile of Student's t from the normal one (Abramowitz and Stegun 26.7.5); within 0.2 % from 5 degrees on."""
    z = NormalDist().inv_cdf(0.975)
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )
