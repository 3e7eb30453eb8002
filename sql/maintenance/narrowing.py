"""Empty tables ahead are replaced by narrower ones: a month by days, and a day by hours where the fleet is large.

detach -> create the narrower ones in its place -> drop it, in one transaction; a table that has rows is attached again

An index of an hour fits into memory where that of a day does not. Wide tables further ahead cost little, and store readings while
maintenance does not run. A table is replaced long before its first reading, so an interrupted run can be repeated.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

import structlog

from sql.partitions import ROWS, Partition, attach, detach, list_partitions, midnight
from sql.queries import queries

log = structlog.get_logger(__name__)

DAY: Final = timedelta(days=1)
# 70,000 devices with a reading a minute. The key of a day is 7 GB, at a million devices 100 GB and 4 GB of an hour.
ROWS_A_DAY: Final = 100_000_000
MEASURED_DAYS: Final = 3
SOONEST: Final = timedelta(hours=12)  # before its first reading
AHEAD: Final = timedelta(days=3)


async def narrow_partitions(connection: Any, now: datetime, *, rows_a_day: int = ROWS_A_DAY) -> list[str]:
    """Replace the tables of rows that are wider than they should be and begin soon, as far as they are empty.

    Args:
        connection: of the schema's owner, not in a transaction. Only one may detach partitions at a time.
        now: the database's clock.
        rows_a_day: of a table, from which on it has partitions of an hour.

    Returns:
        The tables that were replaced.

    Raises:
        asyncpg.LockNotAvailableError: a table is in use; the next round tries again.
    """
    if (await queries.folding_state(connection))["folding_before"] is None:
        return []
    tables = await list_partitions(connection, ROWS)
    narrowed = []
    for table in (each for each in tables if each.closes > now):
        siblings = [each for each in tables if each.parent == table.parent]
        if any(each.pending and each is not table for each in siblings):
            continue  # a parent can have one partition at most that is being detached
        is_large = _rows_a_day(siblings, now) >= rows_a_day
        unit = _narrower(table, now, is_large=is_large)
        if unit:
            narrowed += [table.name] if await _narrow(connection, table, unit) else []
        elif not table.is_attached:
            await attach(connection, [table], reason="it was detached to be replaced by narrower ones")
    if narrowed:
        log.info("partitions_narrowed", count=len(narrowed), first=narrowed[0], last=narrowed[-1])
    return narrowed


async def _narrow(connection: Any, table: Partition, unit: str) -> bool:
    """Returns False, and attaches the table again, when it has rows."""
    await detach(connection, [table])
    row = await queries.narrow_partition(
        connection, parent=table.parent, part=table.name, opens=table.opens, closes=table.closes, unit=unit
    )
    if not row["narrowed"]:
        detached = replace(table, attached=False, pending=False)
        await attach(connection, [detached], reason="it has rows, and is not replaced by narrower ones")
    return bool(row["narrowed"])


def _narrower(table: Partition, now: datetime, *, is_large: bool) -> str | None:
    """The unit of the tables that should take the place of this one; None: it stays."""
    width = table.closes - table.opens
    if not SOONEST < table.opens - now <= AHEAD:
        return None
    if width > DAY:
        return "day"
    return "hour" if is_large and width == DAY else None


def _rows_a_day(tables: Sequence[Partition], now: datetime) -> float:
    """The most rows that one of the last complete days has, as of the last ANALYZE of its tables."""
    today = midnight(now)
    days = [today - number * DAY for number in range(1, MEASURED_DAYS + 1)]
    return max(
        sum(
            table.estimated_rows / max(1.0, (table.closes - table.opens) / DAY)
            for table in tables
            if table.opens < day + DAY and table.closes > day
        )
        for day in days
    )
