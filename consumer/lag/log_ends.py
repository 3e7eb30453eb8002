"""Stores where the logs of partitions end that stand still, so that the database knows their unread records as well.

A batch stores the end of the log together with its offsets. Where no batch comes (an open transaction, a halt, an open breaker),
the fleet summary and `python -m sql doctor` would not see the records that wait there.
"""

import asyncio
import time
from typing import Final

import asyncpg
import structlog
from aiokafka import TopicPartition

from consumer.lag.reporter import LagReporter, MeasuredLag
from sql.connection import DATABASE_ERRORS
from sql.queries import queries

log = structlog.get_logger(__name__)

CHECK_SECONDS: Final = 5.0
STANDSTILL_SECONDS: Final = 20.0  # what is unread for a shorter time is about to be written


class LogEnds:
    """Stores the end of a log up to which `reporter` counts records. Never waits for a transaction that claims the partition."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", consumer_group: str, reporter: LagReporter) -> None:
        self._pool = pool
        self._group = consumer_group
        self._reporter = reporter
        self._standing: dict[
            TopicPartition, tuple[int, float]
        ] = {}  # stored offset, and since when (monotonic seconds)

    async def run(self) -> None:
        """Store until cancelled. While the database does not answer, nothing is stored."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            if standing := self._standing_still(time.monotonic()):
                await self._store(standing)

    def _standing_still(self, now: float) -> dict[TopicPartition, MeasuredLag]:
        measured = self._reporter.measured
        before, self._standing = self._standing, {}
        for partition, lag in measured.items():
            offset, since = before.get(partition, (lag.stored, now))
            self._standing[partition] = (lag.stored, since if offset == lag.stored else now)
        due = {each for each, (_, since) in self._standing.items() if now - since >= STANDSTILL_SECONDS}
        return {each: measured[each] for each in due}

    async def _store(self, standing: dict[TopicPartition, MeasuredLag]) -> None:
        try:
            async with self._pool.acquire() as connection:
                await queries.store_log_ends(
                    connection,
                    consumer_group=self._group,
                    topics=[each.topic for each in standing],
                    partitions=[each.partition for each in standing],
                    next_offsets=[lag.stored for lag in standing.values()],
                    end_offsets=[lag.stored + lag.records for lag in standing.values()],
                )
        except DATABASE_ERRORS as error:
            log.debug("log_ends_not_stored", error=repr(error))
