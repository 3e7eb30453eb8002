"""Stalls: times in which records that Kafka had acknowledged waited and none was written."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

import asyncpg
from aiokafka import TopicPartition

from tests.faults.load import Load
from tests.support.database import Database

POLL_SECONDS: Final = 0.1
STORED_OFFSETS: Final = "SELECT topic, partition, next_offset FROM kafka_offsets"


@dataclass(slots=True)
class StallWatch:
    """Longest stall of all partitions together, in seconds."""

    longest_seconds: float = 0.0
    _since: float = field(default_factory=time.monotonic)
    _last: int = -1

    def observe(self, consumed: int | None, acknowledged: int) -> None:
        """Record the number of consumed and acknowledged records; `consumed` is None when the database did not answer."""
        now = time.monotonic()
        if consumed is not None and (consumed != self._last or consumed >= acknowledged):
            self._last, self._since = consumed, now
        self.longest_seconds = max(self.longest_seconds, now - self._since)


@asynccontextmanager
async def partition_stalls(database: Database, load: Load) -> AsyncIterator[dict[TopicPartition, float]]:
    """The longest stall of each partition in seconds, updated while the block runs; raises when the watch itself has failed."""
    stalls: dict[TopicPartition, float] = {}
    watching = asyncio.create_task(_watch_partitions(database, load, stalls), name="stalls")
    try:
        yield stalls
        if watching.done():
            watching.result()  # a watch that has ended early did not see every stall
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


async def _watch_partitions(database: Database, load: Load, stalls: dict[TopicPartition, float]) -> None:
    """Polls the stored offsets for ever.

    A stall lasts as long as consecutive polls find the same stored offset, below an end offset that Kafka had acknowledged by the
    first of them. It starts with the answer to the first poll and ends before the query of the last one. A watch or a load that
    gets no processor time therefore measures shorter stalls, never longer ones.
    """
    seen: dict[TopicPartition, tuple[int, bool, float]] = {}  # stored offset, whether records waited, since when
    connection = await asyncpg.connect(database.migrator_url)
    try:
        while True:
            end_offsets, queried = dict(load.end_offsets), time.monotonic()
            rows = await connection.fetch(STORED_OFFSETS)
            answered = time.monotonic()
            for topic, number, offset in rows:
                partition = TopicPartition(topic, number)
                before, waited, since = seen.get(partition, (-1, False, answered))
                since = since if waited and offset == before else answered
                seen[partition] = (offset, end_offsets.get(partition, 0) > offset, since)
                stalls[partition] = max(stalls.get(partition, 0.0), queried - since)
            await asyncio.sleep(POLL_SECONDS)
    finally:
        await connection.close()
