"""Which days are loaded, of how many devices, and how much disk they need."""

import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from shutil import disk_usage
from typing import Final

from sql.partitions import midnight
from tests.bench.setup.harness import Harness
from tests.bench.setup.time_lapse import Days

DAYS: Final = 30
ARCHIVED_DAYS: Final = 5  # at the end of a month; the others are of the month after it
DAYS_AS_ROWS: Final = 3  # the default of FOLD_AFTER_DAYS
VEHICLES: Final = 10_000  # and as many meters; SCALE takes fewer of them, and never fewer days
JITTER_MS: Final = 500
EXACT_DAYS: Final = 3
MIN_VEHICLES: Final = 20
MIN_VEHICLES_OF_EXACT_DAYS: Final = 100  # below that, what a table takes at least would count
GIB: Final = 2**30
# Bytes a reading, with a margin.
ROW_BYTES: Final = 160
FOLDED_BYTES: Final = 10
ARCHIVED_BYTES: Final = 5
KAFKA_BYTES: Final = 60
WAL_BYTES: Final = 200
MAX_WAL_BYTES: Final = 20 * GIB  # of max_wal_size 16 GB, which is exceeded for a while
MAX_KAFKA_SEGMENTS_BYTES: Final = 4 * GIB  # the open segments of all partitions


def days_with_jitter(harness: Harness, now: datetime) -> Days:
    """The days to load: the last ones of a month and the first ones of the next, so that a month can be archived.

    They end at least two days before now, whose readings are drained later.
    """
    next_month = midnight(now - timedelta(days=DAYS - ARCHIVED_DAYS + 2)).replace(day=1)
    opens = next_month - timedelta(days=ARCHIVED_DAYS)
    vehicles = harness.scaled(VEHICLES, minimum=MIN_VEHICLES)
    return Days(vehicles, opens, DAYS, jitter_ms=JITTER_MS, days_as_rows=DAYS_AS_ROWS)


def days_at_exact_cadence(days: Days) -> Days:
    """A few days of some of the vehicles: the size of a device's day does not depend on how many there are."""
    return Days(max(MIN_VEHICLES_OF_EXACT_DAYS, days.vehicles // 10), days.opens, EXACT_DAYS)


def bytes_needed(days: Days) -> int:
    """Bytes on disk while the days are loaded: rows, folded days, archive, logs of Kafka and write-ahead log."""
    daily = days.readings_a_day
    rows = (days.days_as_rows + 2) * daily * ROW_BYTES  # one day arrives while another is folded
    kafka = min(3 * daily * KAFKA_BYTES + MAX_KAFKA_SEGMENTS_BYTES, days.readings * KAFKA_BYTES)
    wal = min(days.readings * WAL_BYTES, MAX_WAL_BYTES)
    archive = ARCHIVED_DAYS * daily * ARCHIVED_BYTES
    return rows + days.readings * FOLDED_BYTES + archive + kafka + wal


def require_disk(harness: Harness, days: Days) -> None:
    """Exits with a message when the disk of our own servers has less space than the days need."""
    needed = bytes_needed(days)
    text = f"{days.readings:,} readings need {needed / GIB:.1f} GiB"
    if harness.stack.postgres is None:
        harness.log_progress(f"{text} at the database server and at Kafka")
        return
    free = min(disk_usage(path).free for path in (harness.stack.directory, Path(tempfile.gettempdir())))
    if free < needed:
        raise SystemExit(
            f"years: {text}, and {free / GIB:.1f} GiB are free. Choose a smaller fleet: SCALE={harness.scale * free / needed:.2g}"
        )
    harness.log_progress(f"{text}; {free / GIB:.1f} GiB are free")
