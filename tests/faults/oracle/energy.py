"""Plain sums over the readings of a window: energy in and out, and how the efficiency is judged (docs/analytics.md)."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from math import fsum
from typing import Final

from tests.faults.oracle.expected import Expected, within

FAULTY_BELOW: Final = 85.0
DEGRADED_BELOW: Final = 90.0
LEAST_KWH: Final = 1.0
LEAST_COVERAGE: Final = 0.8
MOST_APART: Final = 0.02  # of the expected readings, and always 2 readings


@dataclass(frozen=True, slots=True)
class Energy:
    """One vehicle in [opens, closes): kWh and readings of each side. `seconds` is the assigned time, None without any."""

    opens: datetime
    closes: datetime
    seconds: float | None
    ac: float
    ac_readings: int
    dc: float
    dc_readings: int
    dc_assigned: float
    dc_assigned_readings: int
    temperature: float | None
    meters: frozenset[str]

    @property
    def ratio(self) -> float | None:
        """Efficiency in %, not rounded."""
        return self.dc_assigned / self.ac * 100 if self.seconds and self.ac else None

    @property
    def coverage(self) -> tuple[float | None, float]:
        """Readings received per minute of the time that counts, of the AC and of the DC side."""
        if not self.seconds:
            return None, _coverage(self.dc_readings, (self.closes - self.opens).total_seconds())
        return _coverage(self.ac_readings, self.seconds), _coverage(self.dc_assigned_readings, self.seconds)

    @property
    def status(self) -> str:
        """The first row of the table in docs/analytics.md that applies."""
        ac_coverage, dc_coverage = self.coverage
        if not self.seconds or ac_coverage is None:
            return "unassigned"
        apart = abs(self.ac_readings - self.dc_assigned_readings)
        if self.ratio is None or self.ac < LEAST_KWH or min(ac_coverage, dc_coverage) < LEAST_COVERAGE:
            return "insufficient_data"
        if apart > max(2, MOST_APART * self.seconds / 60):
            return "insufficient_data"
        return _judge(self.ratio)


def energy(expected: Expected, vehicle: str, opens: datetime, closes: datetime) -> Energy:
    """The sums of a vehicle; a meter's readings count only while it was assigned to the vehicle."""
    parts = [
        (each.meter, max(each.start, opens), min(each.end or closes, closes))
        for each in expected.assignments
        if each.vehicle == vehicle and each.start < closes and (each.end is None or each.end > opens)
    ]
    ac = [values[0] for meter, start, end in parts for _, values in within(expected.meters.get(meter, []), start, end)]
    series = expected.vehicles.get(vehicle, [])
    dc = within(series, opens, closes)
    assigned = [values[0] for _, start, end in parts for _, values in within(series, start, end)]
    return Energy(
        opens=opens,
        closes=closes,
        seconds=fsum((end - start).total_seconds() for _, start, end in parts) if parts else None,
        ac=fsum(ac),
        ac_readings=len(ac),
        dc=fsum(values[0] for _, values in dc),
        dc_readings=len(dc),
        dc_assigned=fsum(assigned),
        dc_assigned_readings=len(assigned),
        temperature=_mean(values[2] for _, values in dc),
        meters=frozenset(meter for meter, *_ in parts),
    )


def _judge(ratio: float) -> str:
    rounded = round(ratio, 2)
    if rounded > 100:
        return "implausible"
    if rounded < FAULTY_BELOW:
        return "faulty"
    return "degraded" if rounded < DEGRADED_BELOW else "healthy"


def _coverage(readings: int, seconds: float) -> float:
    return min(1.0, readings * 60 / seconds)


def _mean(values: Iterable[float]) -> float | None:
    listed = list(values)
    return fsum(listed) / len(listed) if listed else None
