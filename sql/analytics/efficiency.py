"""Energy sums of a time window -> efficiency ratio, coverage and status with its reason."""

from dataclasses import dataclass
from datetime import timedelta
from math import inf, isfinite
from typing import Any, Final

import msgspec

from schemas.config.settings import JudgementSettings
from schemas.responses.base import Judgement

WINDOW: Final = timedelta(hours=24)
SECONDS_PER_READING: Final = 60.0
DIGITS: Final = 2
# Readings by which the two sides may always differ: one of them is usually a little later than the other.
MIN_READING_GAP: Final = 2
# Reasons; of a ratio, what follows it and its threshold.
NO_ENERGY: Final = "the assigned meters measured no energy in this window"
FAULTY: Final = " % is below {:g} %: a hardware fault"
DEGRADED: Final = " % is below {:g} %: worth an inspection"
HEALTHY: Final = " % is at or above {:g} %"


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

    def most_readings_apart(self, assigned_seconds: float) -> float:
        """By how many readings the sides may differ."""
        return max(MIN_READING_GAP, self.max_reading_gap * assigned_seconds / SECONDS_PER_READING)


class Side(msgspec.Struct, frozen=True, gc=False):
    """Energy in kWh and number of readings of one side."""

    kwh: float
    points: int


class EnergySums(msgspec.Struct, frozen=True, gc=False):
    """Energy and readings of a vehicle in a window, and for how many seconds it was assigned to a meter.

    `ac` and `dc` cover the assigned time, `ac_compared` and `dc_compared` the part of it up to the older of both sides' newest
    readings: after that, the readings of one side are still on their way, and a comparison would blame the charger for it.
    `dc_points` are the vehicle's readings of the whole window.
    """

    window_seconds: float
    assigned_seconds: float | None
    dc_points: int
    ac: Side
    dc: Side
    ac_compared: Side
    dc_compared: Side

    @classmethod
    def from_row(cls, row: Any) -> "EnergySums":
        """From a row of the query `energy_of`."""
        return cls.of_window(row, (row["closes"] - row["opens"]).total_seconds())

    @classmethod
    def of_window(cls, row: Any, window_seconds: float) -> "EnergySums":
        """From a row of `energy_of` or `window_energy_of`, of a window of this length."""
        return cls(
            window_seconds=window_seconds,
            assigned_seconds=row["assigned_seconds"],
            dc_points=row["dc_points"],
            ac=Side(row["ac_kwh"], row["ac_points"]),
            dc=Side(row["dc_kwh_assigned"], row["dc_points_assigned"]),
            ac_compared=Side(row["ac_kwh_compared"], row["ac_points_compared"]),
            dc_compared=Side(row["dc_kwh_compared"], row["dc_points_compared"]),
        )


class Efficiency(msgspec.Struct, frozen=True, gc=False):
    """The ratio in %, the share of expected readings on each side (0 to 1), and the status with its reason."""

    ratio: float | None
    ac_coverage: float | None
    dc_coverage: float
    status: Judgement
    reason: str


def assess_efficiency(sums: EnergySums, thresholds: Thresholds) -> Efficiency:
    """The query `evaluate_unchanged` comes to the same results, bit by bit, where it does not leave a vehicle out."""
    if not sums.assigned_seconds:
        reason = "no meter was assigned to the vehicle in this window, so the energy drawn is not known"
        return Efficiency(None, None, _coverage(sums.dc_points, sums.window_seconds), "unassigned", reason)
    ratio = _ratio(sums)
    ac = _coverage(sums.ac.points, sums.assigned_seconds)
    dc = _coverage(sums.dc.points, sums.assigned_seconds)
    status, reason = _status(ratio, sums, min(ac, dc), thresholds)
    return Efficiency(ratio, ac, dc, status, reason)


def _ratio(sums: EnergySums) -> float | None:
    """None unless both sides have readings, without AC energy, and with so little that the quotient overflows.

    Readings without a common minute, such as a single one a side, are compared nevertheless; they are too few to be judged.
    """
    ac, dc = sums.ac_compared, sums.dc_compared
    if not (ac.points and dc.points):
        ac, dc = sums.ac, sums.dc
    if not (ac.points and dc.points):
        return None
    hundredths = dc.kwh / ac.kwh * 10_000 if ac.kwh else inf
    return round(hundredths) / 100 if isfinite(hundredths) else None


def _coverage(points: int, seconds: float) -> float:
    if not seconds:
        return 0.0
    share = points * SECONDS_PER_READING / seconds
    return round(share * 10_000) / 10_000 if share < 1.0 else 1.0


def _status(ratio: float | None, sums: EnergySums, coverage: float, thresholds: Thresholds) -> tuple[Judgement, str]:
    if ratio is None:
        return "insufficient_data", _no_ratio(sums)
    if missing := _missing_data(sums, coverage, thresholds):
        return "insufficient_data", missing
    if ratio > 100:  # noqa: PLR2004 - percent
        return (
            "implausible",
            f"more energy came out than went in ({ratio:g} %): the readings or the assignment must be wrong",
        )
    if ratio < thresholds.fault_below:
        return "faulty", f"{ratio:g}{FAULTY.format(thresholds.fault_below)}"
    if ratio < thresholds.degraded_below:
        return "degraded", f"{ratio:g}{DEGRADED.format(thresholds.degraded_below)}"
    return "healthy", f"{ratio:g}{HEALTHY.format(thresholds.degraded_below)}"


def _no_ratio(sums: EnergySums) -> str:
    if sums.ac.kwh and not sums.dc.points:
        return "the vehicle has sent no readings for the assigned time in this window"
    return NO_ENERGY


def _missing_data(sums: EnergySums, coverage: float, thresholds: Thresholds) -> str | None:
    kwh = sums.ac_compared.kwh
    if kwh < thresholds.min_energy_kwh:
        return (
            f"{kwh:.3f} kWh were drawn while both sides sent readings; the minimum is {thresholds.min_energy_kwh:g} kWh"
        )
    if coverage < thresholds.min_coverage:
        share = f"{coverage:.1%} of the expected readings of one side are present"
        return f"{share}; the minimum is {thresholds.min_coverage:.0%} on both sides"
    # Both with the tail of one side, which is data that is missing on the other, and without it.
    tail = abs(sums.ac.points - sums.dc.points)
    gap = max(tail, abs(sums.ac_compared.points - sums.dc_compared.points))
    if gap > thresholds.most_readings_apart(sums.assigned_seconds or 0.0):
        return f"one side has {gap} readings more than the other, so their energies do not cover the same time"
    return None
