"""The levels of history: how many days each holds, their bytes and dollars, and the core-hours of a billion readings."""

from dataclasses import dataclass
from typing import Final

from deploy.sizing import measured
from deploy.sizing.fleet import DAY, Fleet

KEPT_LONGER_DAYS: Final = 31 + 7  # at most: a month is dropped as a whole, a week after its last reading has expired
BILLION: Final = 1e9
MICROSECONDS_PER_HOUR: Final = 3.6e9


@dataclass(frozen=True, slots=True)
class Prices:
    """Dollars: for a GB (1e9 bytes) and month, and for an hour of one core.

    The defaults are assumptions of the order of the list prices of large clouds (block storage, object storage, a virtual machine
    divided by its cores), not measurements or offers.
    """

    disk_gb_month: float = 0.10
    archive_gb_month: float = 0.02
    core_hour: float = 0.05


ASSUMED_PRICES: Final = Prices()


@dataclass(frozen=True, slots=True)
class Level:
    """A level of history: the days it holds, its size, and what that costs."""

    name: str
    days: int
    size_bytes: float
    dollars_a_month: float


def levels(fleet: Fleet, prices: Prices = ASSUMED_PRICES) -> list[Level]:
    """Rows, folded days and archive, each at its largest. Of one copy: replicas and backups are not included."""
    rows = min(fleet.retention_days, fleet.fold_after_days + 1)  # and today
    folded = fleet.retention_days - rows
    if folded:
        folded += KEPT_LONGER_DAYS
    hourly = fleet.devices * 24 * measured.ROLLUP_BYTES
    readings = fleet.records * DAY
    daily = {
        "rows": readings * (measured.TABLE_BYTES + measured.INDEX_BYTES) + hourly,
        "folded": readings * (measured.FOLDED_BYTES_EXACT if fleet.exact_cadence else measured.FOLDED_BYTES),
        "archive": readings * (measured.ARCHIVE_BYTES_EXACT if fleet.exact_cadence else measured.ARCHIVE_BYTES),
    }
    kept = (
        ("rows", rows, prices.disk_gb_month),
        ("folded", folded, prices.disk_gb_month),
        ("archive", fleet.archive_days, prices.archive_gb_month),
    )
    return [Level(name, days, daily[name] * days, daily[name] * days / 1e9 * price) for name, days, price in kept]


def core_hours(fleet: Fleet) -> dict[str, float]:
    """Core-hours of a billion readings by work, from arrival to archive. Requests are not included."""
    readings_a_day = DAY / fleet.interval_seconds  # of a device
    evaluations = measured.EVALUATION_SECONDS / (2 * measured.EVALUATED_VEHICLES) * fleet.interval_seconds / 60
    microseconds = {
        "consumers": measured.CONSUMER_MICROSECONDS,
        "PostgreSQL": measured.POSTGRES_MICROSECONDS,
        "Kafka": measured.KAFKA_MICROSECONDS,
        "rollups": measured.ROLLUP_SECONDS / measured.ROLLED_UP_DEVICES / 3600 * fleet.interval_seconds * 1e6,
        "evaluation": evaluations * 1e6,
        "folding": measured.FOLDING_MICROSECONDS,
        "merging": measured.MERGING_MILLISECONDS * 1000 * fleet.late_share / readings_a_day,
        "archiving": measured.ARCHIVING_MICROSECONDS if fleet.archive_days else 0.0,
    }
    return {work: each * BILLION / MICROSECONDS_PER_HOUR for work, each in microseconds.items()}
