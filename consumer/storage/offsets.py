"""Stored offsets: the next offset of each partition, read from PostgreSQL and never from Kafka."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Final

import asyncpg
import structlog
from aiokafka import TopicPartition

from sql.connection import DATABASE_ERRORS
from sql.queries import queries

EVICT_AFTER_SECONDS: Final = 5.0  # below the writer's lock_timeout
# A frozen consumer has one transaction per topic; we wait for the second one only after the first has ended.
EVICTION_INTERVAL_SECONDS: Final = 0.25

log = structlog.get_logger(__name__)


class StoredOffsets:
    """The offsets of one consumer group in `kafka_offsets`. Batches move them in `ledger.claim_offsets`."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", consumer_group: str) -> None:
        self._pool = pool
        self._group = consumer_group

    async def read(self, partitions: Iterable[TopicPartition], *, evict: bool = True) -> dict[TopicPartition, int]:
        """The next offset of each partition that this group has read before.

        Waits for transactions that still claim one of the partitions. Where the group has assigned these partitions to us
        (`evict`), a session that holds its claim for longer than EVICT_AFTER_SECONDS is frozen or cut off, and is terminated.
        """
        columns = partition_columns(partitions)
        async with self._pool.acquire() as connection:
            evicting = asyncio.create_task(
                self._evict_holders(connection.get_server_pid()) if evict else asyncio.sleep(0), name="evict"
            )
            try:
                return {
                    TopicPartition(row["topic"], row["partition"]): row["next_offset"]
                    async for row in queries.stored_offsets(connection, consumer_group=self._group, **columns)
                }
            finally:
                evicting.cancel()

    async def insert_missing(self, beginnings: Mapping[TopicPartition, int]) -> None:
        """Store the first offset of partitions that this group has not read before; stored offsets do not change."""
        async with self._pool.acquire() as connection:
            await queries.insert_missing_offsets(
                connection,
                consumer_group=self._group,
                **partition_columns(beginnings),
                offsets=list(beginnings.values()),
            )

    async def _evict_holders(self, waiting_pid: int) -> None:
        """After EVICT_AFTER_SECONDS, terminate the sessions that block the given one, as it runs into them."""
        reported: set[int] = set()
        await asyncio.sleep(EVICT_AFTER_SECONDS)
        while True:
            try:
                async with self._pool.acquire() as connection:
                    async for holder in queries.evict_holders(
                        connection, waiting=waiting_pid, patience=EVICT_AFTER_SECONDS
                    ):
                        if holder["pid"] not in reported:  # a terminated session takes a moment to end
                            reported.add(holder["pid"])
                            _log_eviction(holder)
            except DATABASE_ERRORS as error:
                log.warning("eviction_failed", error=repr(error))
                await asyncio.sleep(EVICT_AFTER_SECONDS)
            await asyncio.sleep(EVICTION_INTERVAL_SECONDS)


def _log_eviction(holder: Any) -> None:
    log.warning(
        "session_evicted",
        pid=holder["pid"],
        address=str(holder["client_addr"]),
        began=str(holder["xact_start"]),
        reason="it holds the claim on partitions that are now assigned to this consumer",
    )


def gap_between(stored: int, beginning: int, end: int) -> str | None:
    """Describe what is missing between a stored offset and the log [beginning, end); None when reading can continue."""
    if stored < beginning:
        return f"records {stored} to {beginning - 1} were deleted from Kafka before they were read"
    if stored > end:
        return f"offset {stored} is stored but the log ends at {end}: the topic was recreated or lost records"
    return None


def partition_columns(partitions: Iterable[TopicPartition]) -> dict[str, list[Any]]:
    """Partitions as the two array arguments of a query."""
    listed = list(partitions)
    return {"topics": [each.topic for each in listed], "partitions": [each.partition for each in listed]}
