"""history -> hours of each device, complete up to a watermark; hours that late readings have changed are computed again.

late_before moves ahead (from now on older readings are marked) -> the hours up to it are rolled up -> complete_before follows
"""

from datetime import UTC, datetime, timedelta
from math import inf
from time import monotonic
from typing import Any, Final

import asyncpg
import structlog

from sql.queries import queries

log = structlog.get_logger(__name__)

HOUR: Final = timedelta(hours=1)
AT_ONCE: Final = timedelta(days=1)  # in one transaction, when there is much to catch up with
Connection = Any  # asyncpg.Connection


async def refresh_rollups(
    connection: Connection, now: datetime, *, grace: timedelta, oldest: datetime | None = None, seconds: float = inf
) -> None:
    """Bring the hours up to date: those that have ended at least `grace` before `now`, and those that late readings have changed.

    Args:
        connection: of the schema's owner, in no transaction. Only one refresh may run at a time.
        now: the server's clock.
        grace: how late a reading may be without making its hour be computed a second time.
        oldest: from when on readings are kept, where they are not kept for ever; what is older has no partition to go to.
        seconds: about how long it may take; the rest is left to the next refresh.

    Raises:
        asyncpg.LockNotAvailableError: a writer has stood still in its transaction, so the watermark cannot move yet; what
            could be done without it was done.
    """
    ends = monotonic() + seconds
    held: asyncpg.LockNotAvailableError | None = None
    try:
        await _move_late_before(connection, _hour(now - grace))
    except asyncpg.LockNotAvailableError as error:
        held = error
    state = await queries.rollup_state(connection)
    if state["late_before"]:
        complete = state["complete_before"] or await _beginning(connection, state["late_before"], oldest)
        await _roll_up(connection, complete, state["late_before"], ends)
        await _refresh_late(connection, ends)
    await queries.note_refresh(connection)
    if held:
        raise held


async def _move_late_before(connection: Connection, target: datetime) -> None:
    before = (await queries.rollup_state(connection))["late_before"]
    if before and before >= target:
        return
    async with connection.transaction():
        # Writers queue behind this lock while it waits for one that stands still: not for longer than they can bear.
        await connection.execute("SET LOCAL lock_timeout = '1s'")
        await queries.wait_for_writers(connection)
        await queries.move_late_before(connection, instant=target)


async def _beginning(connection: Connection, target: datetime, oldest: datetime | None) -> datetime:
    """Where the first refresh of all begins; what is older and arrives from now on is marked as late."""
    first = (await queries.oldest_reading(connection))["recorded_at"]
    if first is None:
        return target - HOUR
    return min(_hour(max(first, oldest or first)), target - HOUR)


async def _roll_up(connection: Connection, complete: datetime, target: datetime, ends: float) -> None:
    while complete < target and monotonic() < ends:
        closes = min(target, complete + AT_ONCE)
        async with connection.transaction():
            meters = await queries.roll_up_meters(connection, opens=complete, closes=closes)
            vehicles = await queries.roll_up_vehicles(connection, opens=complete, closes=closes)
            await queries.move_complete_before(connection, instant=closes)
        hours = meters["hours"] + vehicles["hours"]
        if hours:
            log.info("hours_rolled_up", up_to=closes.isoformat(), device_hours=hours)
        complete = closes


async def _refresh_late(connection: Connection, ends: float) -> None:
    for side, refresh in (("meter", queries.refresh_late_meters), ("vehicle", queries.refresh_late_vehicles)):
        marked = [row["hour"] async for row in queries.marked_hours(connection, side=side)]
        done = refreshed = 0
        for hour in marked:
            if monotonic() > ends:
                break
            refreshed += (await refresh(connection, hour=hour))["hours"]
            done += 1
        if marked:
            log.info("late_hours_refreshed", side=side, hours=done, of=len(marked), device_hours=refreshed)


def _hour(instant: datetime) -> datetime:
    return instant.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
