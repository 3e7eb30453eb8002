"""Who is in the fleet: ids, the second of the minute at which each reports, chargers good and bad, assignments."""

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
    """Everything the fleet's readings depend on, beside the time: `devices` meters and as many vehicles."""

    devices: int = 10_000
    seed: int = 1
    faulty_share: float = 0.02


@dataclass(frozen=True, slots=True)
class Vehicle:
    """One vehicle and its meter; both report at the same `phase_ms` (0 to 59,999) of every minute.

    `efficiency` is DC/AC, `climate` (0 to 1) how warm it is there, `shift_minutes` how far its day is ahead of others'.
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
    """A vehicle charges at a meter in [valid_from, valid_to); None means until further notice."""

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
    """Vehicle `number` (from 1), which is the same however many devices the fleet has."""
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
    """Milliseconds into the minute; multiples of the golden ratio spread evenly, however many there are."""
    return int(number * _GOLDEN_RATIO % 1 * MINUTE_MS)


def is_faulty(fleet: Fleet, number: int) -> bool:
    """Whether the charger of vehicle `number` is one of the faulty ones."""
    return draw(fleet.seed, number, _FAULT) < fleet.faulty_share


def efficiency(fleet: Fleet, number: int) -> float:
    """DC/AC: 0.90 to 0.96 (the real station: 0.95), of a faulty charger 0.70 to 0.84."""
    worst, best = (0.70, 0.84) if is_faulty(fleet, number) else (0.90, 0.96)
    return round(worst + (best - worst) * draw(fleet.seed, number, _EFFICIENCY), 4)


def assignments(fleet: Fleet) -> Iterator[Assignment]:
    """Vehicle n charges at meter n, and always has."""
    for number in range(1, fleet.devices + 1):
        yield Assignment(vehicle_id(number), meter_id(number), IN_SERVICE_SINCE, None)


def write_assignments(rows: Iterable[Assignment], file: TextIO = sys.stdout) -> None:
    """Write the CSV that `python -m sql assign FILE` reads."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(Assignment._fields)
    for row in rows:
        writer.writerow((row.vehicle_id, row.meter_id, _rfc3339(row.valid_from), _rfc3339(row.valid_to)))


def _rfc3339(instant: datetime | None) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z") if instant else ""
