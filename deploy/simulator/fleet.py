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
_GOLDEN_RATIO: Final = 0.6180339887498949
_FAULT, _EFFICIENCY, _CLIMATE, _SHIFT = range(4)


@dataclass(frozen=True, slots=True)
class Fleet:
    """Everything but the time that readings depend on. `devices` is the number of vehicles and also of meters."""

    devices: int = 10_000
    seed: int = 1
    faulty_share: float = 0.02


@dataclass(frozen=True, slots=True)
class Vehicle:
    """One vehicle and its meter; both report at the same `phase_ms` (0 to 59,999) of every minute.

    `efficiency` is DC/AC, `climate` (0 to 1) how warm its place is, `shift_minutes` how far its day is ahead of the others.
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
    )


def phase_ms(number: int) -> int:
    """Milliseconds into the minute. Multiples of the golden ratio are evenly spread for any number of vehicles."""
    return int(number * _GOLDEN_RATIO % 1 * MINUTE_MS)


def is_faulty(fleet: Fleet, number: int) -> bool:
    return draw(fleet.seed, number, _FAULT) < fleet.faulty_share


def efficiency(fleet: Fleet, number: int) -> float:
    """DC/AC: 0.90 to 0.96 (0.95 at the real station), or 0.70 to 0.84 for a faulty charger."""
    worst, best = (0.70, 0.84) if is_faulty(fleet, number) else (0.90, 0.96)
    return round(worst + (best - worst) * draw(fleet.seed, number, _EFFICIENCY), 4)


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
