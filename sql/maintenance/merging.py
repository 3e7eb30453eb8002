"""Late readings of folded days are merged into the folded rows, those of the oldest day first.

They are visible before and after. Writers of late readings wait while a portion is merged, about a fifth of a second.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Any, Final

import structlog

from sql.partitions import LOCK_TIMEOUT
from sql.queries import queries

log = structlog.get_logger(__name__)

READINGS_PER_LIST: Final = 10_000  # late readings whose devices and days are listed at once
SECONDS_PER_PORTION: Final = 0.2
Connection = Any  # asyncpg.Connection


@dataclass(frozen=True, slots=True)
class Side:
    """Late readings of one history, and their queries."""

    name: str
    list_days: Callable[..., Any]
    merge: Callable[..., Any]


SIDES: Final = (
    Side("meter", queries.late_meter_days, queries.merge_meter_day),
    Side("vehicle", queries.late_vehicle_days, queries.merge_vehicle_day),
    Side("register", queries.late_register_days, queries.merge_register_day),
)


async def merge_late_readings(connection: Connection, *, since: datetime, seconds: float) -> int:
    """Merge late readings of folded days, until none is left or the time is over; the rest is left to the next round.

    Args:
        connection: of the schema's owner, not in a transaction.
        since: older readings are left to retention, which drops their months.
        seconds: about how long it may take.

    Returns:
        The number of device days that were merged.

    Raises:
        asyncpg.LockNotAvailableError: a writer of late readings is stuck in its transaction.
    """
    begun, merged = monotonic(), 0
    for turn, side in enumerate(SIDES, 1):  # each side gets a turn
        merged += await _merge_side(connection, side, since, begun + seconds * turn / len(SIDES))
    return merged


async def _merge_side(connection: Connection, side: Side, since: datetime, deadline: float) -> int:
    merged, more = 0, True
    while more and monotonic() < deadline:
        rows = side.list_days(connection, since=since, row_limit=READINGS_PER_LIST)
        days = [(row["device"], row["day"]) async for row in rows]
        more = bool(days)
        while days and monotonic() < deadline:
            done = await _merge_portion(connection, side, days)
            merged, days = merged + done, days[done:]
    if merged:
        log.info("late_readings_merged", side=side.name, device_days=merged)
    return merged


async def _merge_portion(connection: Connection, side: Side, days: Sequence[tuple[str, Any]]) -> int:
    """Merge the first of these days in one transaction; returns how many."""
    done = 0
    async with connection.transaction():
        await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        deadline = monotonic() + SECONDS_PER_PORTION
        for device, day in days:
            await side.merge(connection, device=device, day=day)
            done += 1
            if monotonic() > deadline:
                break
    return done
