"""How far each partition has been written: asked of the database, never of Kafka."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Final

import asyncpg
import structlog
from aiokafka import TopicPartition

from sql.connection import DATABASE_ERRORS
from sql.queries import queries

EVICTION_PATIENCE: Final = 5.0  # seconds; below the writer's lock_timeout
LOOK_AGAIN: Final = 0.25  # a replica has a transaction for each topic; the second is met once the first has ended

log = structlog.get_logger(__name__)


class StoredOffsets:
    """The rows of `kafka_offsets` of one consumer group, apart from the claim, which is the store's."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", consumer_group: str) -> None:
        self._pool = pool
        self._group = consumer_group

    async def read(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """The next offset of each partition that this group has read before.

        Waits for transactions that still claim one of them. The group has given these partitions to us, so whoever does not let
        go in time is frozen or cut off: its session is ended.
        """
        asked = list(partitions)
        async with self._pool.acquire() as connection:
            evicting = asyncio.create_task(self._evict_holders(connection.get_server_pid()), name="evict")
            try:
                return {
                    TopicPartition(row["topic"], row["partition"]): row["next_offset"]
                    async for row in queries.stored_offsets(connection, consumer_group=self._group, **keys(asked))
                }
            finally:
                evicting.cancel()

    async def register(self, beginnings: Mapping[TopicPartition, int]) -> None:
        """Note where the reading of new partitions starts; those already known stay as they are."""
        async with self._pool.acquire() as connection:
            await queries.first_seen(
                connection, consumer_group=self._group, **keys(beginnings), offsets=list(beginnings.values())
            )

    async def _evict_holders(self, waiting: int) -> None:
        """Once patience is over, end the sessions that the given one waits for, one after the other as it meets them."""
        told: set[int] = set()
        await asyncio.sleep(EVICTION_PATIENCE)
        while True:
            try:
                async with self._pool.acquire() as connection:
                    async for holder in queries.evict_holders(connection, waiting=waiting, patience=EVICTION_PATIENCE):
                        if holder["pid"] in told:
                            continue  # it takes its time to end
                        told.add(holder["pid"])
                        log.warning(
                            "session_evicted",
                            pid=holder["pid"],
                            address=str(holder["client_addr"]),
                            began=str(holder["xact_start"]),
                            reason="it holds the claim on partitions that were given to this replica",
                        )
            except DATABASE_ERRORS as error:
                log.warning("eviction_failed", error=repr(error))
                await asyncio.sleep(EVICTION_PATIENCE)
            await asyncio.sleep(LOOK_AGAIN)


def keys(partitions: Iterable[TopicPartition]) -> dict[str, list[Any]]:
    """Partitions as the two lists that queries take."""
    listed = list(partitions)
    return {"topics": [each.topic for each in listed], "partitions": [each.partition for each in listed]}
