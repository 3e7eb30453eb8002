"""Days of rows are folded into one row for each device, oldest day first; what was folded is dropped as rows.

move folding_before -> fold all devices -> compare -> move folded_before -> drop the rows and the hourly rollups

Nothing is visible before folded_before moves. A run that is interrupted is repeated from the start of the day.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from time import monotonic
from typing import Any, Final

import structlog

from sql.clocks import require_agreeing_clocks
from sql.partitions import ROWS, attach, detach, list_partitions, wait_for_writers
from sql.queries import queries

log = structlog.get_logger(__name__)

DAY: Final = timedelta(days=1)
SECONDS_PER_PORTION: Final = 1.0  # of devices, in one transaction: its snapshot holds back the removal of dead rows
MOST_DEVICES: Final = 1024  # of a portion
SNAPSHOT_WAIT_SECONDS: Final = 30.0
Connection = Any  # asyncpg.Connection


class FoldingError(Exception):
    """The folded rows of a day are not the readings of its rows; the day is not folded, and nothing was dropped."""


@dataclass(frozen=True, slots=True)
class Side:
    """One history and its queries for a portion of the devices."""

    history: str
    fold: Callable[..., Any]
    compare: Callable[..., Any]


SIDES: Final = (
    Side("meter_telemetry_history", queries.fold_meters, queries.compare_meters),
    Side("vehicle_telemetry_history", queries.fold_vehicles, queries.compare_vehicles),
    Side("meter_register_history", queries.fold_registers, queries.compare_registers),
)


async def fold_days(connection: Connection, now: datetime, *, after: timedelta, seconds: float) -> list[date]:
    """Fold the days that ended `after` ago and whose hours are rolled up, and drop their rows.

    Args:
        connection: of the schema's owner, not in a transaction. Only one may fold at a time.
        now: the database's clock.
        after: how long a day stays as rows after its end.
        seconds: no further day is begun after this time.

    Returns:
        The days that were folded.

    Raises:
        FoldingError: a day was not folded completely.
        ClocksDisagreeError: it is uncertain which days have ended.
        asyncpg.LockNotAvailableError: a writer is stuck in its transaction, or a table is in use; the next round tries again.
    """
    deadline, folded = monotonic() + seconds, list[date]()
    await _drop_folded_rows(connection)
    while (opens := await _due_day(connection, now - after)) and monotonic() < deadline:
        if not folded:
            await require_agreeing_clocks(connection)
        await _fold_day(connection, opens)
        await _drop_folded_rows(connection)
        folded.append(opens.date())
    return folded


async def _due_day(connection: Connection, ended_before: datetime) -> datetime | None:
    """The beginning of the oldest day that is not folded, if it is due."""
    state = await queries.folding_state(connection)
    opens: datetime | None = state["folded_before"]
    is_due = (
        opens and opens + DAY <= ended_before and state["complete_before"] and opens + DAY <= state["complete_before"]
    )
    return opens if is_due else None


async def _fold_day(connection: Connection, opens: datetime) -> None:
    began, day, closes = monotonic(), opens.date(), opens + DAY
    tables = [
        table for table in await list_partitions(connection, ROWS) if table.opens < closes and table.closes > opens
    ]
    await attach(connection, tables, reason="its rows are not folded")
    async with connection.transaction():
        await wait_for_writers(connection)
        await queries.move_folding_before(connection, instant=closes)
    devices = readings = 0
    for side in SIDES:
        for portion in await _in_portions(side.fold, connection, day):
            devices, readings = devices + portion["devices"], readings + portion["readings"]
        await _compare(connection, side, day)
    async with connection.transaction():
        await queries.move_folded_before(connection, instant=closes)
        await queries.delete_late_hours_before(connection, instant=closes)
    seconds = round(monotonic() - began, 1)
    log.info("day_folded", day=day.isoformat(), device_days=devices, readings=readings, seconds=seconds)


async def _compare(connection: Connection, side: Side, day: date) -> None:
    """Raises FoldingError if the rows of the day and the folded rows have different numbers of readings."""
    after = ""
    for portion in await _in_portions(side.compare, connection, day):
        if portion["readings"] != portion["folded"]:
            raise FoldingError(
                f"{side.history} has {portion['readings']} readings of {day}, its folded rows {portion['folded']} "
                f"(devices after {after!r}, up to {portion['last'] or 'the last one'}): the day is kept as rows. "
                "Devices without a live status are not folded; find out what has removed it"
            )
        after = portion["last"]


async def _in_portions(of_devices: Callable[..., Any], connection: Connection, day: date) -> Sequence[Any]:
    """Call a query for all devices, a portion in each transaction; returns its rows."""
    portions: list[Any] = []
    after: str | None = ""
    devices = 16
    while after is not None:
        began = monotonic()
        portions.append(await of_devices(connection, day=day, after=after, row_limit=devices))
        after = portions[-1]["last"]
        took = monotonic() - began
        if took > SECONDS_PER_PORTION:
            devices = max(1, devices // 2)
        elif took < SECONDS_PER_PORTION / 2:
            devices = min(MOST_DEVICES, devices * 2)
    return portions


async def _drop_folded_rows(connection: Connection) -> None:
    """Detach and drop the tables of rows that lie wholly before folded_before."""
    folded_before = (await queries.folding_state(connection))["folded_before"]
    if folded_before is None:
        return
    tables = [table for table in await list_partitions(connection, ROWS) if table.closes <= folded_before]
    if not tables or not await _wait_for_snapshots(connection):
        return
    # One at a time: a parent can have one partition at most that is being detached.
    for table in sorted(tables, key=lambda each: not each.pending):
        await detach(connection, [table])
        await connection.execute(f'DROP TABLE "{table.name}"')
    log.info("folded_rows_dropped", tables=len(tables), before=folded_before.isoformat())


async def _wait_for_snapshots(connection: Connection) -> bool:
    """Wait for the transactions that may still see the former folded_before, and would find no rows; False: some go on."""
    transactions = (await queries.transactions_now(connection))["transactions"]
    deadline = monotonic() + SNAPSHOT_WAIT_SECONDS
    while (await queries.are_open(connection, transactions=transactions))["open"]:
        if monotonic() > deadline:
            log.info(
                "folded_rows_kept", reason="a transaction is open that may still read them; the next round drops them"
            )
            return False
        await asyncio.sleep(0.05)
    return True
