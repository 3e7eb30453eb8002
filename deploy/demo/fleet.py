"""The fleet of the demo: its size, its history, its assignments and its faulty chargers."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from deploy.simulator.fleet import Fleet, assignments, is_faulty
from sql.assign import Assignment

FLEET: Final = Fleet()
VEHICLES_WITH_HISTORY: Final = 300
HISTORY_HOURS: Final = 24
# Devices outside of the fleet, for readings that a person posts: the fleet's totals stay exact.
VISITOR_VEHICLE: Final = "VEH-DEMO"
VISITOR_METER: Final = "METER-DEMO"


def all_assignments() -> Iterator[Assignment]:
    """The assignments of the fleet and of the visitor."""
    for line, each in enumerate(assignments(FLEET), 2):
        yield Assignment(line, each.vehicle_id, each.meter_id, each.valid_from, each.valid_to)
    yield Assignment(0, VISITOR_VEHICLE, VISITOR_METER, datetime(2020, 1, 1, tzinfo=UTC), None)


def faulty_vehicles() -> list[int]:
    """The numbers of the vehicles with history whose charger is faulty."""
    return [number for number in range(1, VEHICLES_WITH_HISTORY + 1) if is_faulty(FLEET, number)]


def one_faulty_vehicle() -> int:
    return faulty_vehicles()[0]
