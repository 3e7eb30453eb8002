"""Attacks on retention: a month is interrupted while it is archived and dropped, and gets late readings until it is."""

from datetime import UTC, datetime, timedelta
from typing import Final

from sql.partitions import EXPIRY_MARGIN, midnight, month_after
from tests.faults.attacks.levels.interruption import (
    DAY,
    Hold,
    Way,
    interrupt_at_file,
    interrupt_at_lock,
    send_late,
    start_at_rest,
)
from tests.faults.testbed import Testbed
from tests.support.waiting import until

ROUNDS_OF_A_MONTH: Final = 2
OLDEST_DAYS: Final = 398  # readings that are older are rejected
COUNTING: Final = Hold("register_days", "ACCESS EXCLUSIVE", "^SELECT count")  # what a month contains
# In the order in which they are written: the first file, the list with it, the second file, and this when it is whole.
FILES: Final = ("meter_*", "manifest.json", "vehicle_*", "vehicle_telemetry_history.parquet")
IS_OLDEST: Final = (
    'SELECT min(relname) >= to_char($1::date, \'"vehicle_days_y"YYYY"m"MM\') FROM pg_class '
    "WHERE relname ~ '^vehicle_days_y.{7}$'"
)
# A dropped month that gets late readings is in the database again, until it is dropped once more.
DROPPED: Final = (
    "SELECT EXISTS (SELECT FROM retired_months WHERE month = $1) AND NOT EXISTS ("
    "SELECT FROM vehicle_readings WHERE day >= $1 AND day < $1::date + interval '1 month')"
)


async def interrupt_archiving(testbed: Testbed, number: int) -> None:
    """Interrupt maintenance while it archives a month; the last round of a month lets it be dropped."""
    await start_at_rest(testbed)
    await testbed.load.send(1)
    first = _month(testbed, (number - 1) // ROUNDS_OF_A_MONTH)
    kept, due = _kept_from(first), _kept_from(_after(first))
    await testbed.services.restart_maintenance(**kept)
    await until(lambda: testbed.database.value(IS_OLDEST, first.date()), "empty months before it are dropped")
    await send_late(testbed, [first, _after(first) - timedelta(minutes=4)], number)
    await testbed.until_at_rest()
    step, way = number % (1 + len(FILES)), Way(number % len(Way))
    if step == 0:
        await interrupt_at_lock(testbed, "energy-housekeeping", COUNTING, way, **due)
    else:
        await interrupt_at_file(testbed, FILES[step - 1], way, **due)
    if not await testbed.database.value(DROPPED, first.date()):
        await send_late(testbed, [first + timedelta(hours=9)], number)
    is_last = number % ROUNDS_OF_A_MONTH == 0
    await testbed.services.restart_maintenance(**(due if is_last else kept))
    if is_last:
        await until(lambda: testbed.database.value(DROPPED, first.date()), f"{first:%Y-%m} is dropped")


def _kept_from(instant: datetime) -> dict[str, str]:
    """The settings with which months are dropped that end before this instant."""
    return {"RETENTION_DAYS": str((datetime.now(UTC) - EXPIRY_MARGIN - instant) // DAY)}


def _month(testbed: Testbed, number: int) -> datetime:
    """The first instant of a month: the oldest one of which all readings are accepted, or one of those after it."""
    first = midnight(testbed.today - timedelta(days=OLDEST_DAYS)).replace(day=1)
    for _ in range(number + 1):
        first = _after(first)
    return first


def _after(first: datetime) -> datetime:
    return first.replace(year=month_after(first.date()).year, month=month_after(first.date()).month)
