"""history -> hours of each device, complete up to a watermark; hours that late readings have changed are computed again.

late_before moves ahead (from now on older readings are marked) -> the hours up to it are rolled up -> complete_before follows
"""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import structlog

from sql.queries import queries

log = structlog.get_logger(__name__)

HOUR: Final = timedelta(hours=1)
AT_ONCE: Final = timedelta(days=1)  # in one transaction, when there is much to catch up with
Connection = Any  # asyncpg.Connection


async def refresh_rollups(connection: Connection, now: datetime, *, grace: timedelta) -> None:
    """Bring the hours up to date: those that have ended at least `grace` before `now`, and those that late readings have changed.

    Args:
        connection: of the schema's owner, in no transaction. Only one refresh may run at a time.
        now: the server's clock.
        grace: how late a reading may be without making its hour be computed a second time.

    Raises:
        asyncpg.LockNotAvailableError: a writer has stood still in its transaction; nothing was moved, try again later.
    """
    target = _hour(now - grace)
    state = await queries.rollup_state(connection)
    if state["late_before"] is None or state["late_before"] < target:
        await _move_late_before(connection, target)
    await _roll_up(connection, state["complete_before"] or await _beginning(connection, target), target)
    await _refresh_late(connection)
    await queries.note_refresh(connection)


async def _move_late_before(connection: Connection, target: datetime) -> None:
    async with connection.transaction():
        # Writers queue behind this lock while it waits for one that stands still: not for longer than they can bear.
        await connection.execute("SET LOCAL lock_timeout = '1s'")
        await queries.wait_for_writers(connection)
        await queries.move_late_before(connection, instant=target)


async def _beginning(connection: Connection, target: datetime) -> datetime:
    """Where the first refresh of all begins; what is older and arrives from now on is marked as late."""
    oldest = (await queries.oldest_reading(connection))["recorded_at"]
    return min(_hour(oldest), target - HOUR) if oldest else target - HOUR


async def _roll_up(connection: Connection, complete: datetime, target: datetime) -> None:
    while complete < target:
        closes = min(target, complete + AT_ONCE)
        async with connection.transaction():
            meters = await queries.roll_up_meters(connection, opens=complete, closes=closes)
            vehicles = await queries.roll_up_vehicles(connection, opens=complete, closes=closes)
            await queries.move_complete_before(connection, instant=closes)
        hours = meters["hours"] + vehicles["hours"]
        if hours:
            log.info("hours_rolled_up", up_to=closes.isoformat(), device_hours=hours)
        complete = closes


async def _refresh_late(connection: Connection) -> None:
    for side, refresh in (("meter", queries.refresh_late_meters), ("vehicle", queries.refresh_late_vehicles)):
        marked = [row["hour"] async for row in queries.marked_hours(connection, side=side)]
        refreshed = 0
        for hour in marked:
            refreshed += (await refresh(connection, hour=hour))["hours"]
        if marked:
            log.info("late_hours_refreshed", side=side, hours=len(marked), device_hours=refreshed)


def _hour(instant: datetime) -> datetime:
    return instant.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
