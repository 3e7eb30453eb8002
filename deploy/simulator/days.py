"""Whole days of a vehicle and its meter. Days with the same values are computed once, which makes months of a routine cheap."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date

from deploy.simulator.charging import State, state_at
from deploy.simulator.fleet import DAY_MINUTES, Vehicle, efficiency_on
from deploy.simulator.readings import EPOCH


@dataclass(frozen=True, slots=True)
class EqualDays:
    """Days (UTC) with the same states: one a minute, at the vehicle's phase."""

    days: Sequence[date]
    states: Sequence[State]


def equal_days(one: Vehicle, days: Sequence[date]) -> Iterator[EqualDays]:
    """Each of the days, together with those that are equal to it."""
    found: defaultdict[tuple[int, float], list[date]] = defaultdict(list)
    for day in days:
        number = _number(day)
        found[number % one.routine_days if one.routine_days else number, efficiency_on(one, number)].append(day)
    for equal in found.values():
        first = _number(equal[0]) * DAY_MINUTES
        yield EqualDays(equal, [state_at(one, minute) for minute in range(first, first + DAY_MINUTES)])


def _number(day: date) -> int:
    """Days since the epoch."""
    return day.toordinal() - EPOCH.toordinal()
