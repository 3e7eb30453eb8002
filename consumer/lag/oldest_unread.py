"""A look at records without taking them: how old is the oldest one that nobody has read?"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from consumer.kafka.closing import close
from consumer.settings import ConsumerSettings

log = structlog.get_logger(__name__)

PATIENCE_SECONDS: Final = 3.0
LOOK_AFTER_SECONDS: Final = 5.0  # a replica that drains a backlog comes by every partition more often than that
A_LITTLE_BYTES: Final = 65_536  # of each partition; a broker gives at least one batch of records


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """The offsets [first, end) of a partition, which nobody has read."""

    first: int
    end: int


@dataclass(frozen=True, slots=True)
class PeekedRecord:
    """What a look has shown: the Kafka timestamp (ms) of the first record; None: there are only markers of transactions."""

    timestamp: int | None


class RecordPeeker:
    """Looks over a connection of its own, in no group: what the replica reads, and where it stands, is not touched."""

    def __init__(self, settings: ConsumerSettings) -> None:
        self._settings = settings

    async def look(self, unread: Mapping[TopicPartition, OffsetRange]) -> dict[TopicPartition, PeekedRecord]:
        """What lies at the beginning of each; what could not be seen in time (no broker, an open transaction) is left out."""
        consumer = AIOKafkaConsumer(
            **self._settings.client_options(),
            client_id="energy-consumer-peek",
            enable_auto_commit=False,
            auto_offset_reset="earliest",  # retention may have passed the first one: then the oldest that is left counts
            isolation_level="read_committed",
            max_partition_fetch_bytes=A_LITTLE_BYTES,
        )
        seen: dict[TopicPartition, PeekedRecord] = {}
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await consumer.start()
                consumer.assign(list(unread))
                for partition, offsets in unread.items():
                    consumer.seek(partition, offsets.first)
                while len(seen) < len(unread):
                    await self._see(consumer, unread, seen)
        except (KafkaError, OSError, TimeoutError) as error:
            log.debug("unread_not_seen", error=repr(error))
        finally:
            await close(consumer, PATIENCE_SECONDS)
        return seen

    async def _see(
        self,
        consumer: AIOKafkaConsumer,
        unread: Mapping[TopicPartition, OffsetRange],
        seen: dict[TopicPartition, PeekedRecord],
    ) -> None:
        # One record at a time: brokers send whole batches, and to unpack them all costs a replica that drains much of its rate.
        for partition, records in (await consumer.getmany(timeout_ms=200, max_records=1)).items():
            seen.setdefault(partition, PeekedRecord(records[0].timestamp))
            consumer.pause(partition)
        for partition in unread.keys() - seen.keys():
            if await consumer.position(partition) >= unread[partition].end:
                seen[partition] = PeekedRecord(None)


@dataclass(frozen=True, slots=True)
class _Waiting:
    unread: OffsetRange
    since: float  # seconds since 1970
    seen: PeekedRecord | None = None

    def next(self, unread: OffsetRange) -> "_Waiting":
        """What is known still, now that this is unread: markers alone say nothing of what has followed them."""
        outdated = self.seen == PeekedRecord(None) and unread != self.unread
        return _Waiting(unread, self.since, None if outdated else self.seen)

    def began(self) -> float | None:
        """When the oldest record was produced, as far as that is known; None: there is no record."""
        if self.seen is None:
            return self.since
        return None if self.seen.timestamp is None else self.seen.timestamp / 1000


class OldestUnread:
    """How long partitions have been waiting of which nothing is in hand: stopped, halted, just taken over, or left out of
    batches that others fill.

    When it is first found waiting at an offset, a partition counts from then; one that is still there after LOOK_AFTER_SECONDS
    is peeked at, once for each offset.
    """

    def __init__(self, peek: RecordPeeker) -> None:
        self._peek = peek
        self._waiting: dict[TopicPartition, _Waiting] = {}

    async def of(self, unread: Mapping[TopicPartition, OffsetRange]) -> dict[TopicPartition, float]:
        """When the oldest unread record of each was produced, in seconds since 1970. Where there is no record after all, only
        markers of transactions, the partition is left out.
        """
        now = time.time()
        still = {
            partition: waiting.next(unread[partition])
            for partition, waiting in self._waiting.items()
            if partition in unread and unread[partition].first == waiting.unread.first
        }
        unseen = {
            partition: waiting.unread
            for partition, waiting in still.items()
            if waiting.seen is None and now - waiting.since >= LOOK_AFTER_SECONDS
        }
        for partition, seen in (await self._peek.look(unseen) if unseen else {}).items():
            still[partition] = replace(still[partition], seen=seen)
        self._waiting = {partition: still.get(partition, _Waiting(unread[partition], now)) for partition in unread}
        began = {partition: waiting.began() for partition, waiting in self._waiting.items()}
        return {partition: at for partition, at in began.items() if at is not None}
