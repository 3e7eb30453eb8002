"""The clock of this process, compared with the database's.

What is a valid timestamp, and what is late, depends on the time of day. Where the two clocks differ by more than a minute, this
process takes no record: it would reject good readings, and its breaker would stop the topic for every consumer.
"""

import asyncio
import time
from datetime import UTC, datetime
from typing import Final

import asyncpg
import structlog

from consumer.monitoring.health import Health
from consumer.monitoring.metrics import Metrics
from sql.connection import DATABASE_ERRORS
from sql.queries import queries

log = structlog.get_logger(__name__)

COMPARE_SECONDS: Final = 5.0
LONGEST_ROUND_TRIP_SECONDS: Final = 2.0  # the answer of a slower database says too little
TOLERANCE_SECONDS: Final = 60.0
REASON: Final = "clock"


class Clock:
    """The time of day of this process, and how far it is from the database's.

    Between two comparisons, a jump of the clock shows against the monotonic clock.
    """

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", metrics: Metrics, health: Health) -> None:
        self._pool = pool
        self._metrics = metrics
        self._health = health
        self._difference: float | None = None  # between time of day and monotonic clock, by the database's time of day
        self._agreed: bool | None = None

    def now(self) -> datetime:
        return datetime.fromtimestamp(time.time(), UTC)

    def agrees(self) -> bool:
        """Whether this clock is within a minute of the database's; False before the first comparison. Reports a change."""
        offset = self._offset()
        if offset is None:
            return False
        agrees = abs(offset) <= TOLERANCE_SECONDS
        if agrees != self._agreed:
            self._agreed = agrees
            self._report(offset, agrees=agrees)
        return agrees

    async def keep_comparing(self) -> None:
        """Compare every five seconds until cancelled. While the database does not answer, the last comparison counts."""
        while True:
            await self.compare()
            await asyncio.sleep(COMPARE_SECONDS if self._difference is not None else 0.5)

    async def compare(self) -> None:
        try:
            async with self._pool.acquire() as connection:
                asked = time.monotonic()
                database_time = (await queries.time_of_day(connection))["seconds"]
                answered = time.monotonic()
        except DATABASE_ERRORS as error:
            log.debug("clock_not_compared", error=repr(error))
            return
        if answered - asked <= LONGEST_ROUND_TRIP_SECONDS:
            self._difference = database_time - (asked + answered) / 2
            self._metrics.clock_offset.set(self._offset() or 0.0)
            self.agrees()

    def _offset(self) -> float | None:
        """Seconds by which this clock is ahead of the database's; None when they have not been compared."""
        return None if self._difference is None else time.time() - time.monotonic() - self._difference

    def _report(self, offset: float, *, agrees: bool) -> None:
        self._metrics.paused.labels(REASON).set(0 if agrees else 1)
        if agrees:
            self._health.unblock(REASON)
            log.info("clock_agrees", offset_seconds=round(offset, 3))
        else:
            where = "ahead of" if offset > 0 else "behind"
            detail = f"the clock of this host is {abs(offset):.0f} s {where} the database's; correct it (NTP)"
            self._health.block(REASON, detail)
            log.error("clock_wrong", offset_seconds=round(offset, 3), detail=detail)
