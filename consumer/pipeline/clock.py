"""The clock of this process, compared with the database's.

What is a valid timestamp, and what is late, depends on the time of day. Where the two clocks differ by more than a minute, this
process takes no record: it would reject good readings, and its breaker would stop the topic for every consumer.
"""

import asyncio
import time
from contextlib import suppress
from datetime import UTC, datetime
from math import inf
from typing import Final

import asyncpg
import structlog

from consumer.monitoring.health import Health
from consumer.monitoring.metrics import Metrics
from sql.connection import DATABASE_ERRORS
from sql.queries import queries

log = structlog.get_logger(__name__)

COMPARE_SECONDS: Final = 5.0
RETRY_SECONDS: Final = 0.5
TOLERANCE_SECONDS: Final = 60.0
REASON: Final = "clock"


class Clock:
    """The time of day of this process, and how far it is from the database's.

    Each comparison bounds the difference: the database has read its clock between our question and its answer. The bounds of a
    slow database are wide, which matters little against a minute. Between two comparisons, a jump of this clock shows against
    the monotonic clock. Readiness has the reason `clock` until the first comparison, and whenever records are not taken.
    """

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", metrics: Metrics, health: Health) -> None:
        self._pool = pool
        self._metrics = metrics
        self._health = health
        self._bounds = -inf, inf  # of the database's time of day minus our monotonic clock, in seconds
        self._agreed: bool | None = None  # None: unknown, since the start or since a jump
        self._jumped = asyncio.Event()
        self._block("this host's clock has not been compared with the database's yet")

    def now(self) -> datetime:
        return datetime.fromtimestamp(time.time(), UTC)

    def agrees(self) -> bool:
        """Whether this clock was within a minute of the database's and has not jumped since; False if unknown. Reports a jump."""
        if self._agreed and self._judge() is not True:
            offset, _ = self._offset()
            self._agreed = None
            self._jumped.set()
            self._block(f"this host's clock has jumped by {offset:.0f} s; it is being compared with the database's")
            log.warning("clock_jumped", offset_seconds=round(offset, 3))
        return self._agreed is True

    async def keep_comparing(self) -> None:
        """Compare every five seconds and after a jump, until cancelled. Without an answer, the last comparison counts."""
        while True:
            await self.compare()
            with suppress(TimeoutError):
                async with asyncio.timeout(RETRY_SECONDS if self._agreed is None else COMPARE_SECONDS):
                    await self._jumped.wait()
            self._jumped.clear()

    async def compare(self) -> None:
        try:
            async with self._pool.acquire() as connection:
                asked = time.monotonic()
                database_time = (await queries.time_of_day(connection))["seconds"]
                answered = time.monotonic()
        except DATABASE_ERRORS as error:
            log.debug("clock_not_compared", error=repr(error))
            return
        self._bounds = _narrow(self._bounds, (database_time - answered, database_time - asked))
        self._metrics.clock_offset.set(self._offset()[0])
        agreed = self._judge()
        if agreed is not None and agreed != self._agreed:
            self._agreed = agreed
            self._report()

    def _offset(self) -> tuple[float, float]:
        """Seconds by which this clock is ahead of the database's, and by how many that may be wrong."""
        low, high = self._bounds
        return time.time() - time.monotonic() - (low + high) / 2, (high - low) / 2

    def _judge(self) -> bool | None:
        """Whether the clocks are certainly within a minute of each other, or certainly not; None: the bounds are too wide."""
        offset, uncertainty = self._offset()
        if abs(offset) + uncertainty <= TOLERANCE_SECONDS:
            return True
        return False if abs(offset) - uncertainty > TOLERANCE_SECONDS else None

    def _report(self) -> None:
        offset, uncertainty = self._offset()
        facts = {"offset_seconds": round(offset, 3), "uncertainty_seconds": round(uncertainty, 3)}
        if self._agreed:
            self._metrics.paused.labels(REASON).set(0)
            self._health.unblock(REASON)
            log.info("clock_agrees", **facts)
        else:
            where = "ahead of" if offset > 0 else "behind"
            detail = f"this host's clock is {abs(offset):.0f} s {where} the database's: one of the two is wrong; correct it (NTP)"
            self._block(detail)
            log.error("clock_wrong", **facts, detail=detail)

    def _block(self, detail: str) -> None:
        self._metrics.paused.labels(REASON).set(1)
        self._health.block(REASON, detail)


def _narrow(known: tuple[float, float], answer: tuple[float, float]) -> tuple[float, float]:
    """What both bounds allow; the answer's alone where they contradict each other, because one of the clocks was set."""
    low, high = max(known[0], answer[0]), min(known[1], answer[1])
    return (low, high) if low <= high else answer
