"""Months that were dropped from the database: found in `retired_months`, read from the archive in threads."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any, Final, TypeVar

import structlog

from api.database.routing import READ_ORIGIN
from api.problems import Gone, Overloaded, Unavailable
from sql.archive.manifest import ArchiveError
from sql.queries import queries

log = structlog.get_logger(__name__)

READS: Final = 2  # at a time; each decodes about half a million readings
QUEUED_READS: Final = 8
NEVER_RETIRED: Final = timedelta(days=7)  # a month is kept for at least this long after its end
METERS: Final = "meter_telemetry_history"
VEHICLES: Final = "vehicle_telemetry_history"
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class RetiredMonth:
    """A month of a history that was dropped. `lost`: some of it was not archived before."""

    history: str
    first: date
    lost: bool
    directories: tuple[str, ...]

    @property
    def label(self) -> str:
        """Formatted like 2025-09."""
        return f"{self.first:%Y-%m}"


class Archive:
    """The archive of this database, if `root` is given. At most READS reads run at a time."""

    def __init__(self, root: Path | None) -> None:
        self._root = root
        self._threads = ThreadPoolExecutor(READS, thread_name_prefix="archive")
        if root is not None:  # pyarrow, so that the first request need not wait until it is loaded
            self._threads.submit(import_module, "sql.archive.reader")
        self._reads = 0

    def close(self) -> None:
        """Start no more reads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def beside(
        self,
        connection: Any,
        histories: Sequence[str],
        opens: datetime,
        closes: datetime,
        read: Callable[[], Awaitable[Result]],
    ) -> tuple[Result, list[RetiredMonth]]:
        """What `read` returns from the database, and the months of [opens, closes) that are only in the archive.

        A month that is dropped while the database is read is neither missing nor counted twice: it is read again then.

        Raises:
            Gone: one of the months is not in the archive, or the archive is not here.
        """
        before: list[RetiredMonth] = []
        while True:
            rows = await read()
            retired = await self._retired(connection, histories, opens, closes)
            if retired == before:
                return rows, retired
            self._require(retired)
            before = retired

    async def run(self, work: Callable[[], Result]) -> Result:
        """The result of blocking work with files of the archive, which is a source of the answer from then on.

        Raises:
            Overloaded: READS and QUEUED_READS are running or waiting.
            Unavailable: a file cannot be read.
        """
        if self._reads >= READS + QUEUED_READS:
            raise Overloaded(f"{self._reads} reads of the archive are running or queued; try again in a moment")
        self._reads += 1
        reading = asyncio.get_running_loop().run_in_executor(self._threads, work)
        reading.add_done_callback(self._release)
        try:
            found = await reading
        except ArchiveError as error:
            log.warning("archive_unreadable", error=str(error))
            raise Unavailable("the archive of this period cannot be read; the error was logged") from error
        if origin := READ_ORIGIN.get():
            origin.archive = True
        return found

    def directories(self, month: RetiredMonth) -> list[Path]:
        """Where a month is archived."""
        assert self._root is not None, "beside() has raised Gone"  # noqa: S101
        return [self._root / name for name in month.directories]

    def _release(self, _: "asyncio.Future[Any]") -> None:
        self._reads -= 1

    async def _retired(
        self, connection: Any, histories: Sequence[str], opens: datetime, closes: datetime
    ) -> list[RetiredMonth]:
        if opens > datetime.now(UTC) - NEVER_RETIRED:
            return []
        rows = queries.retired_months_of(connection, histories=list(histories), opens=opens, closes=closes)
        return [
            RetiredMonth(row["history"], row["month"], row["lost"], tuple(row["directories"])) async for row in rows
        ]

    def _require(self, months: Sequence[RetiredMonth]) -> None:
        lost = sorted({month.label for month in months if month.lost})
        if lost:
            raise Gone(f"readings of {', '.join(lost)} were dropped without an archive; ask for another period")
        if months and self._root is None:
            archived = sorted({month.label for month in months})
            raise Gone(
                f"readings of {', '.join(archived)} are only in the archive, and this service has no ARCHIVE_DIRECTORY; "
                "ask for another period"
            )
