"""The months that histories and rollups lie in: their tables, what state each is in, and which of them have had their time."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby
from typing import Any, Final

from sql.queries import queries

# A batch that could not be written for days may carry readings that were young enough when they were decoded: its month waits.
WAITS: Final = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Part:
    """One table of one month: of `parent`, attached to it or not; `pending` when a detachment was begun and not ended."""

    parent: str
    name: str
    attached: bool
    pending: bool


@dataclass(frozen=True, slots=True)
class Month:
    """A calendar month (UTC) and the tables that hold it."""

    first: date
    parts: tuple[Part, ...]

    @property
    def label(self) -> str:
        """2026-02."""
        return f"{self.first:%Y-%m}"

    @property
    def opens(self) -> datetime:
        """Its first instant."""
        return datetime.combine(self.first, time(), UTC)

    @property
    def closes(self) -> datetime:
        """The first instant of the next month."""
        return datetime.combine(month_after(self.first), time(), UTC)


async def months(connection: Any) -> list[Month]:
    """All months that have a table, the oldest first."""
    rows = [row async for row in queries.month_partitions(connection)]
    return [
        Month(first, tuple(Part(row["parent"], row["part"], row["attached"], row["pending"]) for row in found))
        for first, found in groupby(rows, key=lambda row: row["month"])
    ]


def over(found: Iterable[Month], now: datetime, retention_days: int) -> Sequence[Month]:
    """Those of which every reading is older than the retention, by more than a waiting batch can explain."""
    kept_from = now - timedelta(days=retention_days) - WAITS
    return [month for month in found if month.closes <= kept_from]


def month_after(first: date) -> date:
    """The first day of the next month."""
    return (first.replace(day=1) + timedelta(days=32)).replace(day=1)
