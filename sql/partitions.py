"""Partitions of the levels of history and of the rollups: created ahead, listed, detached, attached and dropped.

Folded rows have partitions of a month. Rows and hourly rollups have partitions of a day (an hour where the fleet is large); what
lies further ahead, and what an older version has made, is of a month.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby
from typing import Any, Final

import asyncpg
import structlog

from sql.clocks import disagreement, read_clocks
from sql.queries import queries

log = structlog.get_logger(__name__)

AHEAD: Final = timedelta(days=62)  # at least two months beyond the current one
# A batch that could not be written for days may carry readings that were within the retention when they were decoded.
EXPIRY_MARGIN: Final = timedelta(days=7)
HISTORY_OF: Final = {
    "meter_days": "meter_telemetry_history",
    "vehicle_days": "vehicle_telemetry_history",
    "register_days": "meter_register_history",
}
HISTORIES: Final = tuple(HISTORY_OF.values())
ROWS: Final = (*HISTORIES, "meter_energy_hourly", "vehicle_energy_hourly")
LOCK_TIMEOUT: Final = "1s"  # writers queue behind a lock that waits for a stuck one


@dataclass(frozen=True, slots=True)
class Partition:
    """The table of [opens, closes) of `parent`, attached or not; `pending` when its detachment was started and not finished.

    `estimated_rows` is as of the last ANALYZE.
    """

    parent: str
    name: str
    opens: datetime
    closes: datetime
    attached: bool
    pending: bool
    estimated_rows: int = 0

    @property
    def is_attached(self) -> bool:
        return self.attached and not self.pending


@dataclass(frozen=True, slots=True)
class Month:
    """A calendar month (UTC) of folded history and its tables."""

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
    connection: "asyncpg.Connection[asyncpg.Record]",
    now: datetime,
    retention_days: int,
) -> list[str]:
    """Create missing partitions, from the oldest month kept to two months ahead; rows have days until the month ends.

    Safe to run concurrently.

    Args:
        connection: of the schema's owner, not in a transaction.
        now: the database's clock.
        retention_days: how long readings are kept.

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


async def begin_folding(connection: Any, now: datetime, fold_after_days: int, *, only_if_empty: bool = False) -> None:
    """Set the first watermarks of folding unless they are set; what prevents it is logged, and the next call tries again.

    They are set to the beginning of the oldest table of rows that has readings, or `fold_after_days` before today when none has
    and the clocks agree, because they never move back. Consumers of the version before folding refuse to write from then on.

    Args:
        connection: of the schema's owner, not in a transaction.
        now: the database's clock.
        fold_after_days: how many days stay as rows.
        only_if_empty: leave a database with readings as it is.
    """
    if (await queries.folding_state(connection))["folding_before"]:
        return
    try:
        async with connection.transaction():
            await wait_for_writers(connection)
            oldest = await _oldest_rows(connection)
            if oldest and only_if_empty:
                return
            if not oldest and (found := disagreement(await read_clocks(connection))):
                log.warning("folding_not_begun", reason=found)
                return
            instant = oldest or midnight(now) - timedelta(days=fold_after_days)
            await queries.begin_folding(connection, instant=instant)
    except asyncpg.LockNotAvailableError as error:
        log.warning("folding_not_begun", error=str(error), reason="a writer is stuck in its transaction")
    else:
        log.info("folding_begun", rows_from=instant.isoformat())


async def _oldest_rows(connection: Any) -> datetime | None:
    for table in await list_partitions(connection, HISTORIES):
        if await connection.fetchrow(f'TABLE "{table.name}" LIMIT 1'):
            return midnight(table.opens)
    return None


async def wait_for_writers(connection: Any) -> None:
    """Wait for the writers that rely on the present watermarks, and block new ones until this transaction ends.

    Raises:
        asyncpg.LockNotAvailableError: a writer is stuck in its transaction.
    """
    await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
    await queries.wait_for_writers(connection)


async def list_partitions(connection: Any, parents: Iterable[str]) -> list[Partition]:
    """All tables of these partitioned tables, attached or not, oldest first."""
    return [
        Partition(
            row["parent"],
            row["part"],
            row["opens"],
            row["closes"],
            row["attached"],
            row["pending"],
            row["estimated_rows"],
        )
        async for row in queries.list_partitions(connection, parents=list(parents))
    ]


async def list_months(connection: Any) -> list[Month]:
    """All months of folded history that have a table, oldest first."""
    tables = await list_partitions(connection, HISTORY_OF)
    return [Month(first, tuple(found)) for first, found in groupby(tables, key=lambda table: table.opens.date())]


def expired(months: Iterable[Month], now: datetime, retention_days: int) -> list[Month]:
    """The months of which every reading is older than the retention plus EXPIRY_MARGIN."""
    kept_from = now - timedelta(days=retention_days) - EXPIRY_MARGIN
    return [month for month in months if month.closes <= kept_from]


async def detach(connection: Any, tables: Iterable[Partition]) -> None:
    """Make tables unreachable over their parents. Readers and writers of other partitions are not blocked."""
    for table in tables:
        if table.pending:
            await _finish_detaching(connection, table)
        elif table.attached:
            await connection.execute(f'ALTER TABLE "{table.parent}" DETACH PARTITION "{table.name}" CONCURRENTLY')


async def attach(connection: Any, tables: Iterable[Partition], reason: str) -> None:
    """Attach those of the tables that are detached, or are being detached."""
    for table in tables:
        if table.is_attached:
            continue
        if table.pending:
            await _finish_detaching(connection, table)
        await connection.execute(
            f'ALTER TABLE "{table.parent}" ATTACH PARTITION "{table.name}" '
            f"FOR VALUES FROM ('{table.opens.isoformat(' ')}') TO ('{table.closes.isoformat(' ')}')"
        )
        log.info("partition_reattached", table=table.name, reason=reason)


async def _finish_detaching(connection: Any, table: Partition) -> None:
    await connection.execute(f'ALTER TABLE "{table.parent}" DETACH PARTITION "{table.name}" FINALIZE')


def oldest_kept(now: datetime, retention_days: int) -> datetime:
    """The first instant of the oldest month that is not expired."""
    return midnight(now - timedelta(days=retention_days) - EXPIRY_MARGIN).replace(day=1)


def midnight(instant: datetime) -> datetime:
    """The beginning of the day (UTC)."""
    return instant.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def month_after(first: date) -> date:
    """The first day of the next month."""
    return (first.replace(day=1) + timedelta(days=32)).replace(day=1)
