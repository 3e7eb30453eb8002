"""Months that are dropped while they are read, and the number of reads of the archive at a time."""

import asyncio
import threading
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from api.archive.months import QUEUED_READS, READS, VEHICLES, Archive, RetiredMonth
from api.problems import Gone, Overloaded, Unavailable
from sql.archive.manifest import ArchiveError

pytestmark = pytest.mark.anyio

PERIOD = datetime(2025, 9, 1, tzinfo=UTC), datetime(2025, 11, 1, tzinfo=UTC)
SEPTEMBER = RetiredMonth(VEHICLES, date(2025, 9, 1), False, ("2025-09",))


def archive_of(monkeypatch: pytest.MonkeyPatch, *answers: list[RetiredMonth]) -> Archive:
    """An archive whose database names these months as dropped, one answer after the other."""
    remaining = list(answers)

    async def retired(*_: object) -> list[RetiredMonth]:
        return remaining.pop(0)

    archive = Archive(Path("/archive"))
    monkeypatch.setattr(archive, "_retired", retired)
    return archive


async def test_the_database_is_read_again_when_a_month_was_dropped_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["with September", "without September"])

    async def read() -> str:
        return next(answers)

    archive = archive_of(monkeypatch, [SEPTEMBER], [SEPTEMBER])
    assert await archive.beside(None, [VEHICLES], *PERIOD, read) == ("without September", [SEPTEMBER])


async def test_a_month_that_was_lost_meanwhile_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def read() -> str:
        return "rows"

    lost = RetiredMonth(VEHICLES, date(2025, 9, 1), True, ())
    with pytest.raises(Gone, match="2025-09 were dropped without an archive"):
        await archive_of(monkeypatch, [lost]).beside(None, [VEHICLES], *PERIOD, read)


async def test_only_some_reads_run_and_some_more_wait() -> None:
    archive = Archive(Path("/archive"))
    running, release = threading.Semaphore(0), threading.Event()
    most = 0
    now = 0
    lock = threading.Lock()

    def work() -> int:
        nonlocal most, now
        with lock:
            now += 1
            most = max(most, now)
        running.release()
        release.wait(30)
        with lock:
            now -= 1
        return 1

    reads = [asyncio.create_task(archive.run(work)) for _ in range(READS + QUEUED_READS)]
    await asyncio.to_thread(running.acquire)
    with pytest.raises(Overloaded, match="10 reads of the archive"):
        await archive.run(work)
    release.set()
    assert sum(await asyncio.gather(*reads)) == READS + QUEUED_READS
    assert most <= READS
    assert await archive.run(lambda: 2) == 2, "all of them have left"
    archive.close()


async def test_a_file_that_cannot_be_read_does_not_use_up_the_reads() -> None:
    archive = Archive(Path("/archive"))

    def fail() -> None:
        raise ArchiveError("/archive/2025-09 is gone")

    for _ in range(READS + QUEUED_READS + 1):
        with pytest.raises(Unavailable) as error:
            await archive.run(fail)
        assert "/archive" not in str(error.value)
    archive.close()
