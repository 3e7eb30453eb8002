"""Expected totals of a vehicle's readings, computed from the seed alone."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from math import fsum

from deploy.simulator.charging import State, state_at
from deploy.simulator.fleet import MINUTE_MS, Fleet, vehicle
from deploy.simulator.readings import milliseconds


@dataclass(frozen=True, slots=True)
class Totals:
    """Energy on both sides in kWh, number of readings per side, mean battery temperature in degrees Celsius or None."""

    ac_kwh: float
    dc_kwh: float
    points: int
    average_battery_temp: float | None


def expected_totals(number: int, start: datetime, end: datetime, fleet: Fleet | None = None) -> Totals:
    """Totals of vehicle `number` over all readings with a timestamp in [start, end). Its meter has as many readings."""
    one = vehicle(fleet or Fleet(), number)
    first, beyond = (-((one.phase_ms - milliseconds(moment)) // MINUTE_MS) for moment in (start, end))
    return total(state_at(one, minute) for minute in range(first, beyond))


def total(states: Iterable[State]) -> Totals:
    """Sums states with `fsum`, without accumulated rounding errors."""
    states = list(states)
    return Totals(
        ac_kwh=fsum(state.ac_kwh for state in states),
        dc_kwh=fsum(state.dc_kwh for state in states),
        points=len(states),
        average_battery_temp=fsum(state.battery_temp for state in states) / len(states) if states else None,
    )
