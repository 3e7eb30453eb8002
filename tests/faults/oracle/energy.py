"""Plain sums over the readings of a window: energy in and out, and how the efficiency is judged (docs/analytics.md)."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import fsum
from typing import Final

from tests.faults.oracle.expected import Expected, Series, within

FAULTY_BELOW: Final = 85.0
DEGRADED_BELOW: Final = 90.0
LEAST_KWH: Final = 1.0
LEAST_COVERAGE: Final = 0.8
MINUTE: Final = timedelta(minutes=1)
MOST_APART: Final = 0.02  # of the expected readings, and always 2 readings


@dataclass(frozen=True, slots=True)
class Sides:
    """kWh and readings of both sides within assigned time."""

    ac: float
    dc: float
    ac_readings: int
    dc_readings: int

    @property
    def complete(self) -> bool:
        return self.ac_readings > 0 and self.dc_readings > 0

    @property
    def apart(self) -> int:
        return abs(self.ac_readings - self.dc_readings)


@dataclass(frozen=True, slots=True)
class Energy:
    """One vehicle in [opens, closes): kWh and readings of each side. `seconds` is the assigned time, None without any.

    `compared` ends with the minute of the older of both sides' newest readings.
    """

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
    compared: Sides

    @property
    def ratio(self) -> float | None:
        """Efficiency in %, not rounded. Sides without a common minute are compared as they are."""
        sides = self.compared if self.compared.complete else self.assigned
        return sides.dc / sides.ac * 100 if self.seconds and sides.complete and sides.ac else None

    @property
    def assigned(self) -> Sides:
        return Sides(self.ac, self.dc_assigned, self.ac_readings, self.dc_assigned_readings)

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
        apart = max(self.assigned.apart, self.compared.apart)
        if self.ratio is None or self.compared.ac < LEAST_KWH or min(ac_coverage, dc_coverage) < LEAST_COVERAGE:
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
    series = expected.vehicles.get(vehicle, [])
    ac = [values[0] for meter, start, end in parts for _, values in within(expected.meters.get(meter, []), start, end)]
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
        compared=_compare(expected, series, parts),
    )


def _compare(expected: Expected, series: Series, parts: Iterable[tuple[str, datetime, datetime]]) -> Sides:
    ac: list[float] = []
    dc: list[float] = []
    for meter, start, end in parts:
        measured = expected.meters.get(meter, [])
        if measured and series:
            last = min(measured[-1][0], series[-1][0]).replace(second=0, microsecond=0) + MINUTE
            ac += [values[0] for _, values in within(measured, start, min(end, last))]
            dc += [values[0] for _, values in within(series, start, min(end, last))]
    return Sides(fsum(ac), fsum(dc), len(ac), len(dc))


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
