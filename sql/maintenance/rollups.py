"""Hourly rollups per device, complete up to a watermark, and recomputed for hours that late readings have changed.

advance late_before (older readings are marked as late from now on) -> roll up the hours below it -> advance complete_before

late_before follows the clock by the minute, because sums of the present hour rely on it as well (carried_sums.py).
"""

from datetime import UTC, datetime, timedelta
from math import inf
from time import monotonic
from typing import Any, Final

import asyncpg
import structlog

from sql.partitions import wait_for_writers
from sql.queries import queries

log = structlog.get_logger(__name__)

HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)
SETTLED_AFTER: Final = timedelta(minutes=2)  # nearly all readings have arrived by then; later ones are marked as late
# A statement covers so many devices, and a period from an hour up to a day as long as all devices take no longer than this.
# However large the fleet is, no statement reaches its time-out, and what was rolled up before a failure is kept.
DEVICES_PER_STATEMENT: Final = 20_000
SECONDS_PER_PERIOD: Final = 2.0
Connection = Any  # asyncpg.Connection


async def refresh_rollups(connection: Connection, now: datetime, *, grace: timedelta, seconds: float = inf) -> None:
    """Roll up the hours that ended at least `grace` before `now`, and those that late readings have changed.

    Args:
        connection: of the schema's owner, not in a transaction. Only one refresh may run at a time.
        now: the database's clock.
        grace: how late a reading may be before its hour has to be computed a second time.
        seconds: about how long it may take; the rest is left to the next refresh.

    Raises:
        asyncpg.LockNotAvailableError: a writer is stuck in its transaction, so the watermark could not be advanced. All hours
            below the present one were refreshed nevertheless.
    """
    deadline, ended = monotonic() + seconds, _hour(now - grace)
    settled = (now - min(grace, SETTLED_AFTER)).replace(second=0, microsecond=0)
    if ahead := await queries.move_watermarks_back(connection, ended=ended, now=now):
        log.warning("rollup_watermark_moved_back", was=ahead["was"].isoformat(), reason="it was ahead of the clock")
    blocked: asyncpg.LockNotAvailableError | None = None
    try:
        await _move_late_before(connection, settled)
    except asyncpg.LockNotAvailableError as error:
        blocked = error
    state = await queries.rollup_state(connection)
    if state["late_before"]:
        ended = min(ended, _hour(state["late_before"]))
        await _roll_up(connection, state["complete_before"] or await _first_hour(connection, ended), ended, deadline)
        await _refresh_late_hours(connection, deadline)
    await queries.record_refresh(connection)
    if blocked and (not state["late_before"] or state["late_before"] < _hour(now - grace)):
        raise blocked


async def _move_late_before(connection: Connection, target: datetime) -> None:
    before = (await queries.rollup_state(connection))["late_before"]
    if before and before >= target:
        return
    async with connection.transaction():
        await wait_for_writers(connection)
        await queries.move_late_before(connection, instant=target)


async def _first_hour(connection: Connection, target: datetime) -> datetime:
    """The start of the very first rollup: no stored reading is older, and those that arrive from now on are marked as late."""
    first = (await queries.oldest_reading(connection))["recorded_at"]
    if first is None:
        return target - HOUR
    return min(_hour(first), target - HOUR)


async def _roll_up(connection: Connection, complete: datetime, target: datetime, deadline: float) -> None:
    """Roll up [complete, target) period by period; readings that arrive meanwhile are marked as late by their writers."""
    period = HOUR
    while complete < target and (begun := monotonic()) < deadline:
        closes = min(target, complete + period)
        hours = await _roll_up_devices(connection, queries.roll_up_meters, complete, closes)
        hours += await _roll_up_devices(connection, queries.roll_up_vehicles, complete, closes)
        await queries.move_complete_before(connection, instant=closes)
        if hours:
            log.info("hours_rolled_up", up_to=closes.isoformat(), device_hours=hours)
        complete = closes
        period = min(DAY, 2 * period) if monotonic() - begun < SECONDS_PER_PERIOD else HOUR


async def _roll_up_devices(connection: Connection, roll_up: Any, opens: datetime, closes: datetime) -> int:
    """Roll up a period of all devices of one side, in batches; returns the number of device hours."""
    hours = 0
    after: str | None = ""
    while after is not None:
        done = await roll_up(connection, opens=opens, closes=closes, after=after, row_limit=DEVICES_PER_STATEMENT)
        hours, after = hours + done["hours"], done["last"]
    return hours


async def _refresh_late_hours(connection: Connection, deadline: float) -> None:
    halfway = (monotonic() + deadline) / 2  # each side gets a turn
    for side, refresh, until in (
        ("meter", queries.refresh_late_meters, halfway),
        ("vehicle", queries.refresh_late_vehicles, deadline),
    ):
        marked = [row["hour"] async for row in queries.late_hours(connection, side=side)]
        done = refreshed = 0
        for hour in marked:
            more = True
            while more and monotonic() < until:
                portion = await refresh(connection, hour=hour, row_limit=DEVICES_PER_STATEMENT)
                refreshed, more = refreshed + portion["hours"], portion["more"]
            if more:
                break
            done += 1
        if marked:
            log.info("late_hours_refreshed", side=side, hours=done, of=len(marked), device_hours=refreshed)


def _hour(instant: datetime) -> datetime:
    return instant.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
