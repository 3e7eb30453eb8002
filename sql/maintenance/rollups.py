"""Hourly rollups per device, complete up to a watermark, and recomputed for hours that late readings have changed.

advance late_before (older readings are marked as late from now on) -> roll up the hours below it -> advance complete_before

late_before follows the clock by the minute, because sums of the present hour rely on it as well (carried_sums.py).
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import inf
from time import monotonic
from typing import Any, Final

import asyncpg
import structlog

from sql.partitions import list_partitions, wait_for_writers
from sql.queries import queries

log = structlog.get_logger(__name__)

HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)
SETTLED_AFTER: Final = timedelta(minutes=2)  # nearly all readings have arrived by then; later ones are marked as late
# A statement covers so many devices, and a period from an hour up to a day as long as all devices take no longer than this.
# However large the fleet is, no statement reaches its time-out, and what was rolled up before a failure is kept.
DEVICES_PER_STATEMENT: Final = 20_000
SECONDS_PER_PERIOD: Final = 2.0
# An hour is rolled up in one pass over its tables of readings if these have at most so many pages for each device: 60 readings
# are 0.6 pages, and finding them in the index takes as long as reading more than two. The other limit is 32 GB.
PAGES_PER_DEVICE: Final = 2
PAGES_PER_PASS: Final = 4_000_000
Connection = Any  # asyncpg.Connection


@dataclass(frozen=True, slots=True)
class Side:
    """The queries and tables of meters, or of vehicles."""

    name: str
    readings: str
    live: str
    roll_up: Callable[..., Awaitable[Any]]
    roll_up_all: Callable[..., Awaitable[int]]
    refresh_late: Callable[..., Awaitable[Any]]


METERS: Final = Side(
    "meter",
    "meter_telemetry_history",
    "meter_live_status",
    queries.roll_up_meters,
    queries.roll_up_all_meters,
    queries.refresh_late_meters,
)
VEHICLES: Final = Side(
    "vehicle",
    "vehicle_telemetry_history",
    "vehicle_live_status",
    queries.roll_up_vehicles,
    queries.roll_up_all_vehicles,
    queries.refresh_late_vehicles,
)


async def refresh_rollups(
    connection: Connection,
    now: datetime,
    *,
    grace: timedelta,
    seconds: float = inf,
    second: Connection | None = None,
) -> None:
    """Roll up the hours that ended at least `grace` before `now`, and those that late readings have changed.

    Args:
        connection: of the schema's owner, not in a transaction. Only one refresh may run at a time.
        now: the database's clock.
        grace: how late a reading may be before its hour has to be computed a second time.
        seconds: about how long it may take; the rest is left to the next refresh.
        second: a further session of the schema's owner, which rolls the vehicles up while `connection` rolls the meters up.

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
        complete = state["complete_before"] or await _first_hour(connection, ended)
        await _roll_up(connection, second, complete, ended, deadline)
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


async def _roll_up(
    connection: Connection, second: Connection | None, complete: datetime, target: datetime, deadline: float
) -> None:
    """Roll up [complete, target) period by period; readings that arrive meanwhile are marked as late by their writers."""
    period = HOUR
    while complete < target and (begun := monotonic()) < deadline:
        closes = min(target, complete + period)
        hours = await _roll_up_period(connection, second, complete, closes)
        await queries.move_complete_before(connection, instant=closes)
        if hours:
            log.info("hours_rolled_up", up_to=closes.isoformat(), device_hours=hours)
        complete = closes
        period = min(DAY, 2 * period) if monotonic() - begun < SECONDS_PER_PERIOD else HOUR


async def _roll_up_period(connection: Connection, second: Connection | None, opens: datetime, closes: datetime) -> int:
    """Roll up a period of all devices; returns the number of device hours."""
    if second is None:
        return sum([await _roll_up_side(connection, side, opens, closes) for side in (METERS, VEHICLES)])
    both = await asyncio.gather(
        _roll_up_side(connection, METERS, opens, closes),
        _roll_up_side(second, VEHICLES, opens, closes),
        return_exceptions=True,
    )
    for each in both:
        if isinstance(each, BaseException):
            raise each
    return sum(each for each in both if isinstance(each, int))


async def _roll_up_side(connection: Connection, side: Side, opens: datetime, closes: datetime) -> int:
    """Roll up a period of all devices of one side, in one pass or in batches; returns the number of device hours."""
    if closes - opens == HOUR and await _are_compact(connection, side, opens, closes):
        async with connection.transaction():
            await queries.read_tables_whole(connection)
            await queries.lock_rollups(connection, side=side.name)
            return await side.roll_up_all(connection, opens=opens, closes=closes)
    hours = 0
    after: str | None = ""
    while after is not None:
        async with connection.transaction():
            await queries.lock_rollups(connection, side=side.name)
            done = await side.roll_up(
                connection, opens=opens, closes=closes, after=after, row_limit=DEVICES_PER_STATEMENT
            )
        hours, after = hours + done["hours"], done["last"]
    return hours


async def _are_compact(connection: Connection, side: Side, opens: datetime, closes: datetime) -> bool:
    """Whether the tables of these readings have so few others that one pass is cheaper than the index."""
    tables = await list_partitions(connection, [side.readings])
    parts = [each.name for each in tables if each.opens < closes and each.closes > opens]
    size = await queries.size_of_readings(connection, parts=parts, live=side.live)
    return bool(size["pages"] <= min(PAGES_PER_PASS, PAGES_PER_DEVICE * size["devices"]))


async def _refresh_late_hours(connection: Connection, deadline: float) -> None:
    halfway = (monotonic() + deadline) / 2  # each side gets a turn
    for side, until in ((METERS, halfway), (VEHICLES, deadline)):
        marked = [row["hour"] async for row in queries.late_hours(connection, side=side.name)]
        done = refreshed = 0
        for hour in marked:
            more = True
            while more and monotonic() < until:
                async with connection.transaction():
                    await queries.lock_rollups(connection, side=side.name)
                    portion = await side.refresh_late(connection, hour=hour, row_limit=DEVICES_PER_STATEMENT)
                refreshed, more = refreshed + portion["hours"], portion["more"]
            if more:
                break
            done += 1
        if marked:
            log.info("late_hours_refreshed", side=side.name, hours=done, of=len(marked), device_hours=refreshed)


def _hour(instant: datetime) -> datetime:
    return instant.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
