"""Stored offsets: the next offset of each partition, read from PostgreSQL and never from Kafka."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
import structlog
from aiokafka import TopicPartition

from sql.connection import DATABASE_ERRORS
from sql.queries import queries

READERS: Final = 2  # of stored offsets at once
CONNECTIONS: Final = 2 * READERS  # each needs another one to evict the session that it waits for
EVICT_AFTER_SECONDS: Final = 5.0  # below the writer's lock_timeout
# A frozen consumer has one transaction per topic; we wait for the second one only after the first has ended.
EVICTION_INTERVAL_SECONDS: Final = 0.25

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LastRecord:
    """The last record that was taken from a partition: its offset, and its hash (`record_hash`).

    Without a hash, no record has been taken since reading began at this offset.
    """

    offset: int
    hash: bytes | None


@dataclass(frozen=True, slots=True)
class StoredOffset:
    """Where a partition continues.

    `halt_reason` says why it must not be read until an operator decides; None when it may be read. The log has no record
    between `last_record` and `next_offset`; it is None after a previous version of the consumer has moved the offset.
    """

    next_offset: int
    halt_reason: str | None = None
    last_record: LastRecord | None = None


class StoredOffsets:
    """The offsets of one consumer group in `kafka_offsets`. Batches move them in `ledger.claim_offsets`.

    Uses at most CONNECTIONS of the pool at once, and one more for `watch`.
    """

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", consumer_group: str) -> None:
        self._pool = pool
        self._readers = asyncio.Semaphore(READERS)
        self._group = consumer_group

    async def read(
        self, partitions: Iterable[TopicPartition], *, evict: bool = True
    ) -> dict[TopicPartition, StoredOffset]:
        """The stored offset of each partition that this group has read before.

        Waits for transactions that still claim one of the partitions. Where the group has assigned these partitions to us
        (`evict`), a session that holds its claim for longer than EVICT_AFTER_SECONDS is frozen or cut off, and is terminated.
        """
        columns = partition_columns(partitions)
        async with self._readers, self._pool.acquire() as connection:
            evicting = asyncio.create_task(
                self._evict_holders(connection.get_server_pid()) if evict else asyncio.sleep(0), name="evict"
            )
            try:
                return await _by_partition(queries.stored_offsets(connection, consumer_group=self._group, **columns))
            finally:
                evicting.cancel()

    async def watch(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, StoredOffset]:
        """The same as of the last commit, without waiting for anything."""
        columns = partition_columns(partitions)
        async with self._pool.acquire() as connection:
            return await _by_partition(queries.watch_offsets(connection, consumer_group=self._group, **columns))

    async def halt(self, partition: TopicPartition, expected_offset: int, reason: str) -> None:
        """Halt a partition until an operator decides; does nothing when its stored offset is not the expected one any more."""
        async with self._readers, self._pool.acquire() as connection:
            await queries.halt(
                connection,
                consumer_group=self._group,
                topic=partition.topic,
                partition=partition.partition,
                expected_offset=expected_offset,
                reason=reason,
            )

    async def insert_missing(self, beginnings: Mapping[TopicPartition, int]) -> None:
        """Store the first offset of partitions that this group has not read before; stored offsets do not change."""
        async with self._readers, self._pool.acquire() as connection:
            await queries.insert_missing_offsets(
                connection,
                consumer_group=self._group,
                **partition_columns(beginnings),
                offsets=list(beginnings.values()),
            )

    async def _evict_holders(self, waiting_pid: int) -> None:
        """After EVICT_AFTER_SECONDS, terminate the sessions that block the given one, as it runs into them.

        Each is looked at twice in a row: one that has just got a lock itself goes on and ends meanwhile, however old its
        transaction is.
        """
        seen: set[int] = set()
        evicted: set[int] = set()
        await asyncio.sleep(EVICT_AFTER_SECONDS)
        while True:
            seen_before, seen = seen, set()
            try:
                async with self._pool.acquire() as connection:
                    async for holder in queries.evict_holders(
                        connection, waiting=waiting_pid, patience=EVICT_AFTER_SECONDS, seen=list(seen_before)
                    ):
                        seen.add(holder["pid"])
                        # A terminated session takes a moment to end.
                        if holder["ended"] and holder["pid"] not in evicted:
                            evicted.add(holder["pid"])
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


async def _by_partition(rows: AsyncIterator[Any]) -> dict[TopicPartition, StoredOffset]:
    return {
        TopicPartition(row["topic"], row["partition"]): StoredOffset(
            row["next_offset"], row["halt_reason"], last_record_of(row)
        )
        async for row in rows
    }


def last_record_of(row: Any) -> LastRecord | None:
    """The last record taken, from a row of `kafka_offsets`; None when it is unknown."""
    if row["last_record_offset"] is None:
        return None
    return LastRecord(row["last_record_offset"], row["last_record_hash"])


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
