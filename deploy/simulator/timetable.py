"""The readings that are due between two instants, in order of time, and the clock of simulated time."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from deploy.simulator.fleet import MINUTE_MS, Fleet, Vehicle, vehicle
from deploy.simulator.readings import Record, pair_at

DAY_MS: Final = 1440 * MINUTE_MS


@dataclass(frozen=True, slots=True)
class Timetable:
    """Vehicles in the order of their phases, which is their order within each minute."""

    vehicles: Sequence[Vehicle]
    phases_ms: Sequence[int]


def timetable(fleet: Fleet, count: int | None = None) -> Timetable:
    """The timetable of the first `count` vehicles and their meters, by default all of them."""
    numbers = range(1, min(count or fleet.devices, fleet.devices) + 1)
    vehicles = sorted((vehicle(fleet, number) for number in numbers), key=lambda one: one.phase_ms)
    return Timetable(vehicles, [one.phase_ms for one in vehicles])


def due(table: Timetable, start_ms: int, end_ms: int) -> Iterator[Record]:
    """All readings with a timestamp in [start_ms, end_ms). Adjacent windows neither miss nor repeat a reading."""
    for minute in range(start_ms // MINUTE_MS, -(-end_ms // MINUTE_MS)):
        first = bisect_left(table.phases_ms, start_ms - minute * MINUTE_MS)
        last = bisect_left(table.phases_ms, end_ms - minute * MINUTE_MS)
        for position in range(first, last):
            yield from pair_at(table.vehicles[position], minute)


@dataclass(frozen=True, slots=True)
class Clock:
    """Simulated time. It starts at `start_ms`, runs `speed_up` times as fast as the wall clock and never passes it."""

    start_ms: int
    wall_start_ms: int
    speed_up: float

    def at(self, wall_ms: int) -> int:
        """Simulated time at wall-clock time `wall_ms`, both in milliseconds since the epoch."""
        return min(wall_ms, self.start_ms + int((wall_ms - self.wall_start_ms) * self.speed_up))


def clock_from(wall_ms: int, speed_up: float, duration_s: float | None) -> Clock:
    """A clock that starts so far in the past, at most a day, that it reaches the wall clock after `duration_s`."""
    behind_ms = DAY_MS if duration_s is None else min(DAY_MS, int(duration_s * 1000 * (speed_up - 1)))
    return Clock(wall_ms - (behind_ms if speed_up > 1 else 0), wall_ms, speed_up)
