"""The values of a vehicle and its meter at a minute: a pure function of seed, vehicle and minute, from real sessions.

Time is divided into slots of four hours, shifted for each vehicle. Each slot contains one real session. Between sessions the
vehicle drives, and its state of charge falls from the end of one session to the start of the next. A fleet with a routine repeats
its days; only the efficiency of aging chargers depends on the day itself.
"""

from dataclasses import dataclass
from functools import cache, lru_cache
from math import exp, pi, sin
from typing import Final, NamedTuple

from deploy.simulator.fleet import DAY_MINUTES, Vehicle, efficiency_on
from deploy.simulator.pseudorandom import draw
from deploy.simulator.sessions import RealSession, charged_share, real_sessions

SLOT_MINUTES: Final = 240
SLOTS_PER_DAY: Final = DAY_MINUTES // SLOT_MINUTES
_CROSSING_SOC: Final = 60.0
_SIMILAR: Final = 64
_STATION_KW: Final = 175.0
_CLASS, _SESSION, _START = range(4, 7)


class State(NamedTuple):
    """kWh of the last minute on each side, volts at the meter, % and degrees Celsius of the battery; rounded as in readings."""

    ac_kwh: float
    dc_kwh: float
    voltage: float
    soc: float
    battery_temp: float


@dataclass(frozen=True, slots=True)
class Charge:
    """A real session of a vehicle. Its readings are those of the minutes [start, end) of the vehicle's own time."""

    session: RealSession
    start: int
    end: int


def state_at(vehicle: Vehicle, minute: int) -> State:
    """The state of `vehicle` and its meter at `minute` (minutes since the epoch, UTC)."""
    day = minute // DAY_MINUTES
    if vehicle.routine_days:
        minute %= vehicle.routine_days * DAY_MINUTES
    own_minute = minute + vehicle.shift_minutes
    slot = own_minute // SLOT_MINUTES
    charge = _charge_of(vehicle, slot)
    if charge.start <= own_minute < charge.end:
        return _charging(vehicle, minute, charge.session, own_minute - charge.start, efficiency_on(vehicle, day))
    if own_minute < charge.start:
        soc = _soc_while_driving(own_minute, _charge_of(vehicle, slot - 1), charge)
    else:
        soc = _soc_while_driving(own_minute, charge, _charge_of(vehicle, slot + 1))
    voltage, ambient = _grid_voltage(vehicle, minute), _ambient(vehicle, minute)
    return State(0.0, 0.0, round(voltage, 1), round(soc, 1), round(ambient, 1))


def _charge_of(vehicle: Vehicle, slot: int) -> Charge:
    return charge_in(vehicle.seed, vehicle.number, slot, vehicle.routine_days)


@lru_cache(maxsize=65_536)
def charge_in(seed: int, number: int, slot: int, routine_days: int | None = None) -> Charge:
    """The session of vehicle `number` in `slot`: a real one with about the battery capacity of that vehicle."""
    pool = _interchangeable_sessions()
    planned = slot % (routine_days * SLOTS_PER_DAY) if routine_days else slot
    smallest = int(draw(seed, number, _CLASS) * (len(pool) - _SIMILAR + 1))
    session = pool[smallest + int(draw(seed, number, _SESSION, planned) * _SIMILAR)]
    room = SLOT_MINUTES - session.minutes
    start = slot * SLOT_MINUTES + int(draw(seed, number, _START, planned) * room)
    return Charge(session, start, start + session.minutes)


@cache
def _interchangeable_sessions() -> tuple[RealSession, ...]:
    """The sessions from at most 60 % to at least 60 %, by capacity. Any may follow any other: charge falls in between."""
    crossing = [s for s in real_sessions() if s.soc_arrival <= _CROSSING_SOC <= s.soc_departure]
    return tuple(sorted(crossing, key=lambda session: (session.capacity_kwh, session.number)))


def _charging(vehicle: Vehicle, minute: int, session: RealSession, passed: int, efficiency: float) -> State:
    before, after = charged_share(session, passed), charged_share(session, passed + 1)
    ac_kwh = round(session.energy_kwh * (after - before), 6)
    load = ac_kwh * 60 / _STATION_KW
    return State(
        ac_kwh=ac_kwh,
        dc_kwh=round(ac_kwh * efficiency, 6),
        voltage=round(_grid_voltage(vehicle, minute) - 6 * load, 1),
        soc=round(session.soc_arrival + (session.soc_departure - session.soc_arrival) * after, 1),
        battery_temp=round(_ambient(vehicle, minute) + 20 * load * (1 - exp(-(passed + 1) / 6)), 1),
    )


def _soc_while_driving(own_minute: int, last: Charge, following: Charge) -> float:
    driven = (own_minute + 1 - last.end) / (following.start - last.end + 1)
    full, empty = last.session.soc_departure, following.session.soc_arrival
    return full - (full - empty) * driven


def _grid_voltage(vehicle: Vehicle, minute: int) -> float:
    return 241 + 2.5 * sin(minute / 37 + vehicle.number)


def _ambient(vehicle: Vehicle, minute: int) -> float:
    return 17 + 6 * vehicle.climate - 2 * sin(2 * pi * (minute / 1440 + vehicle.climate / 10))
