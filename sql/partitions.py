"""Monthly partitions of histories and rollups: created ahead, listed, and checked for expiry."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby
from typing import Any, Final

import asyncpg
import structlog

from sql.queries import queries

log = structlog.get_logger(__name__)

AHEAD: Final = timedelta(days=62)  # at least two months beyond the current one
# A batch that could not be written for days may carry readings that were within the retention when they were decoded.
EXPIRY_MARGIN: Final = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Partition:
    """The table of one month of `parent`, attached or not; `pending` when its detachment was started and not finished."""

    parent: str
    name: str
    attached: bool
    pending: bool


@dataclass(frozen=True, slots=True)
class Month:
    """A calendar month (UTC) and its tables."""

    first: date
    partitions: tuple[Partition, ...]

    @property
    def label(self) -> str:
        """Formatted like 2026-02."""
        return f"{self.first:%Y-%m}"

    @property
    def opens(self) -> datetime:
        """The first instant of the month."""
        return datetime.combine(self.first, time(), UTC)

    @property
    def closes(self) -> datetime:
        """The first instant of the next month."""
        return datetime.combine(month_after(self.first), time(), UTC)


async def ensure_partitions(
    connection: "asyncpg.Connection[asyncpg.Record]", now: datetime, retention_days: int
) -> list[str]:
    """Create missing partitions, from the oldest month kept to two months ahead. Safe to run concurrently.

    Returns:
        The names of the new partitions.
    """
    # One day more than the retention: a reading may be accepted before midnight and written after it.
    oldest = now - timedelta(days=retention_days + 1)
    rows = queries.ensure_partitions(connection, oldest=oldest, newest=now + AHEAD)
    created = [str(row["partition"]) async for row in rows]
    if created:
        log.info("partitions_created", count=len(created), first=created[0], last=created[-1])
    return created


async def list_months(connection: Any) -> list[Month]:
    """All months that have a table, oldest first."""
    rows = [row async for row in queries.month_partitions(connection)]
    return [
        Month(first, tuple(Partition(row["parent"], row["part"], row["attached"], row["pending"]) for row in found))
        for first, found in groupby(rows, key=lambda row: row["month"])
    ]


def expired(months: Iterable[Month], now: datetime, retention_days: int) -> list[Month]:
    """The months of which every reading is older than the retention plus EXPIRY_MARGIN."""
    kept_from = now - timedelta(days=retention_days) - EXPIRY_MARGIN
    return [month for month in months if month.closes <= kept_from]


def month_after(first: date) -> date:
    """The first day of the next month."""
    return (first.replace(day=1) + timedelta(days=32)).replace(day=1)
