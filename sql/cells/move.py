"""Moves a selection of devices from the database of one cell to that of another, a portion at a time; every run continues."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, TypeVar

import asyncpg
from pydantic import SecretStr

from sql.cells.devices import Devices, Selection, portions, selected_groups
from sql.cells.histories import histories
from sql.cells.portion import Cells, DayIsFoldingError, Moved, MoveError, copy_folded_days, forget, move_portion
from sql.connection import connect
from sql.partitions import AHEAD, HISTORY_OF, list_partitions
from sql.queries import queries

SESSION: Final = {"application_name": "energy-move", "lock_timeout": "5s"}
# Errors after which a portion is tried again: another transaction was in its way, and nothing was changed.
IN_THE_WAY: Final = (
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.LockNotAvailableError,
    DayIsFoldingError,
)
ATTEMPTS: Final = 30
PAUSE_SECONDS: Final = 2.0
PASSES: Final = 5  # of all devices, as long as the source goes on to get readings of some
Report = Callable[[str], None]
Result = TypeVar("Result")


@asynccontextmanager
async def open_cells(
    source: SecretStr, target: SecretStr, *, jitter_kwh: float, discard_conflicts: bool
) -> AsyncIterator[Cells]:
    """Connections to both databases, which no other move uses.

    Raises:
        MoveError: they are the same database, have different schemas, or another move uses one of them.
    """
    connections: list[Any] = []
    try:
        connections += [await connect(source, server_settings=SESSION)]
        connections += [await connect(target, server_settings=SESSION)]
        await _require_pair(*connections)
        await _ensure_partitions(*connections)
        found = await histories(connections[0])
        yield Cells(connections[0], connections[1], found, jitter_kwh, discard_conflicts)
    finally:
        for connection in connections:
            connection.terminate()


async def _require_pair(source: Any, target: Any) -> None:
    here, there = [await queries.cell_identity(each) for each in (source, target)]
    if here["identity"] == there["identity"]:
        raise MoveError("both URLs lead to the same database")
    if here["version"] != there["version"]:
        raise MoveError(
            f"the schemas differ ({here['version']} and {there['version']}): run python -m sql migrate for both"
        )
    for each, name in ((source, "source"), (target, "target")):
        if not (await queries.try_lock_moving(each))["acquired"]:
            raise MoveError(f"another move uses the {name}")


async def _ensure_partitions(source: Any, target: Any) -> None:
    tables = await list_partitions(source, HISTORY_OF)
    now = await target.fetchval("SELECT now()")
    oldest = min((table.opens for table in tables), default=now)
    _ = [row async for row in queries.ensure_partitions(target, oldest=oldest, newest=now + AHEAD)]


async def move(cells: Cells, selection: Selection, size: int, report: Report) -> tuple[Devices, Moved]:
    """Move the selected devices, until the source knows none of them.

    Args:
        cells: the databases.
        selection: the devices; those that were ever assigned to one of them are moved with it.
        size: how many devices are moved at a time.
        report: gets a line for each portion.

    Returns:
        The devices, and what was moved.

    Raises:
        MoveError: a portion cannot be moved, or the source still gets readings. What was moved before stays moved.
    """
    devices, moved = Devices(), Moved()
    groups = await selected_groups(cells.source, selection)
    for group in groups:
        devices.add(group)
    for _ in range(PASSES):
        if not groups:
            return devices, moved
        done, total = 0, sum(map(len, groups))
        for portion in portions(groups, size):
            moved.add(await _retry(partial(move_portion, cells, portion), report))
            await _retry(partial(forget, cells, portion), report)
            done += len(portion)
            report(f"{done:,} of {total:,} devices moved, {_readings(moved):,} readings")
        groups = await selected_groups(cells.source, _same(devices))
    left = ", ".join([each for group in groups for each in (*group.vehicles, *group.meters)][:5])
    raise MoveError(
        f"the source still gets readings of {sum(map(len, groups)):,} devices ({left}): switch their producers, "
        "wait until the source has read its topics, and run this command again"
    )


async def copy_ahead(cells: Cells, selection: Selection, size: int, report: Report) -> tuple[Devices, int]:
    """Copy folded days of the selected devices, and delete nothing; the target does not show them. Returns what was copied."""
    devices, copied = Devices(), 0
    groups = await selected_groups(cells.source, selection)
    for portion in portions(groups, size):
        copied += await _retry(partial(copy_folded_days, cells, portion), report)
        devices.add(portion)
        report(f"{len(devices):,} of {sum(map(len, groups)):,} devices copied ahead, {copied:,} readings")
    return devices, copied


def _same(devices: Devices) -> Selection:
    return Selection(listed=[*devices.vehicles, *devices.meters])


def _readings(moved: Moved) -> int:
    return sum(each.readings for each in moved.contents.values())


async def _retry(work: Callable[[], Awaitable[Result]], report: Report) -> Result:
    for _ in range(ATTEMPTS - 1):
        try:
            return await work()
        except IN_THE_WAY as error:
            report(f"tried again in {PAUSE_SECONDS:.0f} s: {error}")
            await asyncio.sleep(PAUSE_SECONDS)
    return await work()


def selection_of(first: str | None, last: str | None, listed: Sequence[str]) -> Selection:
    """A range or a list of ids.

    Raises:
        MoveError: neither or both are given, or the range is empty.
    """
    if (first is None) != (last is None) or (first is None) == (not listed):
        raise MoveError("give --first and --last, or --devices")
    if first is not None and last is not None and first > last:
        raise MoveError("--first must not come after --last")
    return Selection(first, last, listed)
