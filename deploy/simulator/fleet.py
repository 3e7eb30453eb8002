"""The members of the fleet: ids, reporting times, efficiency of their chargers, assignments."""

import csv
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NamedTuple, TextIO

from deploy.simulator.pseudorandom import draw

MINUTE_MS: Final = 60_000
DAY_MINUTES: Final = 1440
IN_SERVICE_SINCE: Final = datetime(2020, 1, 1, tzinfo=UTC)
CHARGER_LIFE_DAYS: Final = 120  # of an aging charger, which is then replaced: it loses 7 points, and is never faulty
LOSS_PER_DAY: Final = 0.0006
DAILY_DEVIATION: Final = 0.002  # at most, of an aging charger
_GOLDEN_RATIO: Final = 0.6180339887498949
_FAULT, _EFFICIENCY, _CLIMATE, _SHIFT = range(4)
_AGING, _AGE, _DEVIATION = range(7, 10)  # charging.py has those in between


@dataclass(frozen=True, slots=True)
class Fleet:
    """Everything but the time that readings depend on. `devices` is the number of vehicles and also of meters.

    The chargers of `aging_share` of the vehicles lose efficiency from day to day. Each vehicle does the same again after
    `routine_days`; None: never.
    """

    devices: int = 10_000
    seed: int = 1
    faulty_share: float = 0.02
    aging_share: float = 0.0
    routine_days: int | None = None


@dataclass(frozen=True, slots=True)
class Vehicle:
    """One vehicle and its meter; both report at the same `phase_ms` (0 to 59,999) of every minute.

    `efficiency` is DC/AC of the new charger, `climate` (0 to 1) how warm its place is, `shift_minutes` how far its day is ahead
    of the others. `charger_age_days` is the age of an aging charger on 1 January 1970; None: it does not age.
    """

    number: int
    seed: int
    vehicle_id: str
    meter_id: str
    vehicle_key: bytes
    meter_key: bytes
    phase_ms: int
    efficiency: float
    climate: float
    shift_minutes: int
    charger_age_days: int | None
    routine_days: int | None


class Assignment(NamedTuple):
    """A vehicle charges at a meter in [valid_from, valid_to). `valid_to` is None without an end."""

    vehicle_id: str
    meter_id: str
    valid_from: datetime
    valid_to: datetime | None


def meter_id(number: int) -> str:
    """METER-001, ..., METER-10000."""
    return f"METER-{number:03d}"


def vehicle_id(number: int) -> str:
    """VEH-001, ..., VEH-10000."""
    return f"VEH-{number:03d}"


def vehicle(fleet: Fleet, number: int) -> Vehicle:
    """Vehicle `number`, from 1. It is the same in fleets of all sizes."""
    return Vehicle(
        number=number,
        seed=fleet.seed,
        vehicle_id=vehicle_id(number),
        meter_id=meter_id(number),
        vehicle_key=vehicle_id(number).encode(),
        meter_key=meter_id(number).encode(),
        phase_ms=phase_ms(number),
        efficiency=efficiency(fleet, number),
        climate=draw(fleet.seed, number, _CLIMATE),
        shift_minutes=int(draw(fleet.seed, number, _SHIFT) * DAY_MINUTES),
        charger_age_days=int(draw(fleet.seed, number, _AGE) * CHARGER_LIFE_DAYS) if is_aging(fleet, number) else None,
        routine_days=fleet.routine_days,
    )


def phase_ms(number: int) -> int:
    """Milliseconds into the minute. Multiples of the golden ratio are evenly spread for any number of vehicles."""
    return int(number * _GOLDEN_RATIO % 1 * MINUTE_MS)


def is_faulty(fleet: Fleet, number: int) -> bool:
    return draw(fleet.seed, number, _FAULT) < fleet.faulty_share


def is_aging(fleet: Fleet, number: int) -> bool:
    return not is_faulty(fleet, number) and draw(fleet.seed, number, _AGING) < fleet.aging_share


def efficiency(fleet: Fleet, number: int) -> float:
    """DC/AC of a new charger: 0.90 to 0.96 (0.95 at the real station), 0.70 to 0.84 if it is faulty, 0.94 to 0.96 if it ages."""
    worst, best = (0.70, 0.84) if is_faulty(fleet, number) else (0.94 if is_aging(fleet, number) else 0.90, 0.96)
    return round(worst + (best - worst) * draw(fleet.seed, number, _EFFICIENCY), 4)


def efficiency_on(one: Vehicle, day: int) -> float:
    """DC/AC on a day (UTC, since the epoch). An aging charger loses LOSS_PER_DAY until it is replaced, and varies a little."""
    if one.charger_age_days is None:
        return one.efficiency
    age = (day + one.charger_age_days) % CHARGER_LIFE_DAYS
    deviation = (2 * draw(one.seed, one.number, _DEVIATION, day) - 1) * DAILY_DEVIATION
    return round(one.efficiency - age * LOSS_PER_DAY + deviation, 6)


def assignments(fleet: Fleet) -> Iterator[Assignment]:
    """Vehicle n is assigned to meter n since the fleet entered service."""
    for number in range(1, fleet.devices + 1):
        yield Assignment(vehicle_id(number), meter_id(number), IN_SERVICE_SINCE, None)


def write_assignments(rows: Iterable[Assignment], file: TextIO = sys.stdout) -> None:
    """Writes the CSV that `python -m sql assign FILE` reads."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(Assignment._fields)
    for row in rows:
        writer.writerow((row.vehicle_id, row.meter_id, _rfc3339(row.valid_from), _rfc3339(row.valid_to)))


def _rfc3339(instant: datetime | None) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z") if instant else ""
