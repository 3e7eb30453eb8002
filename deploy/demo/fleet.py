"""The fleet of the demo: its size, its history, its assignments and its faulty chargers."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from deploy.simulator.fleet import Fleet, assignments, is_aging, is_faulty
from sql.assign import Assignment
from sql.partitions import midnight

# Each vehicle repeats its day, so that a month of days is computed and encoded within seconds; aging chargers change.
FLEET: Final = Fleet(aging_share=0.03, routine_days=1)
VEHICLES_WITH_HISTORY: Final = 300
FOLDED_DAYS: Final = 30
# The newest readings come through Kafka and are rows. They begin at a midnight (UTC), where the folded days end.
LEAST_ROWS: Final = timedelta(hours=6)
MOST_ROWS: Final = LEAST_ROWS + timedelta(days=1)
LONGEST_PAUSE: Final = timedelta(days=7)  # 6 million readings, which take about a minute
# Devices outside of the fleet, for readings that a person posts: the fleet's totals stay exact.
VISITOR_VEHICLE: Final = "VEH-DEMO"
VISITOR_METER: Final = "METER-DEMO"


def all_assignments() -> Iterator[Assignment]:
    """The assignments of the fleet and of the visitor."""
    for line, each in enumerate(assignments(FLEET), 2):
        yield Assignment(line, each.vehicle_id, each.meter_id, each.valid_from, each.valid_to)
    yield Assignment(0, VISITOR_VEHICLE, VISITOR_METER, datetime(2020, 1, 1, tzinfo=UTC), None)


def rows_from(now: datetime) -> datetime:
    """The midnight (UTC) at which the folded days of a new demo end."""
    return midnight(now - LEAST_ROWS)


def backfill_from(now: datetime, folded_before: datetime, newest: datetime | None) -> datetime:
    """The instant from which a demo that starts sends readings, so that its history has no gap after a pause of a week at most.

    `newest` is the instant up to which an earlier demo has stored readings; None: there was none.
    """
    begin = now - MOST_ROWS if newest is None else min(newest, now - MOST_ROWS)
    return max(folded_before, begin, now - LONGEST_PAUSE)


def faulty_vehicles() -> list[int]:
    """The numbers of the vehicles with history whose charger is faulty."""
    return [number for number in range(1, VEHICLES_WITH_HISTORY + 1) if is_faulty(FLEET, number)]


def one_faulty_vehicle() -> int:
    return faulty_vehicles()[0]


def aging_vehicles() -> list[int]:
    """The numbers of the vehicles with history whose charger ages, and may have been replaced within the month."""
    return [number for number in range(1, VEHICLES_WITH_HISTORY + 1) if is_aging(FLEET, number)]
