"""The age of the oldest unread record of a partition, sampled from Kafka without consuming it."""

import asyncio
import time
from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from consumer.kafka.client import close_client
from consumer.records.record import plausible_timestamp
from consumer.settings import ConsumerSettings

log = structlog.get_logger(__name__)

TIMEOUT_SECONDS: Final = 3.0
SAMPLE_AFTER_SECONDS: Final = 5.0  # a consumer that drains a backlog fetches from every partition more often than that
FETCH_BYTES: Final = 65_536  # of each partition; a broker sends at least one batch of records


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """The unread offsets [first, end) of a partition, of which those from `stable_end` on are behind an open transaction."""

    first: int
    end: int
    stable_end: int

    @property
    def is_behind_transaction(self) -> bool:
        return self.first >= self.stable_end


@dataclass(frozen=True, slots=True)
class Sample:
    """The Kafka timestamp (ms) of the first unread record; None when the range holds none, only transaction markers."""

    timestamp: int | None


class RecordSampler:
    """Reads first records over a client of its own that is in no group, so that the consumer's positions are not touched."""

    def __init__(self, settings: ConsumerSettings) -> None:
        self._settings = settings

    async def sample(self, unread: Mapping[TopicPartition, OffsetRange]) -> dict[TopicPartition, Sample]:
        """A sample of each range; those that cannot be read in time are left out.

        Of a range behind an open transaction, the first record of that transaction is sampled.
        """
        behind = {partition: offsets for partition, offsets in unread.items() if offsets.is_behind_transaction}
        readable = {partition: offsets for partition, offsets in unread.items() if partition not in behind}
        return {
            **(await self._sample(readable, "read_committed") if readable else {}),
            **(await self._sample(behind, "read_uncommitted") if behind else {}),
        }

    async def _sample(
        self, unread: Mapping[TopicPartition, OffsetRange], isolation_level: str
    ) -> dict[TopicPartition, Sample]:
        client = AIOKafkaConsumer(
            **self._settings.client_options(),
            client_id="energy-consumer-lag",
            enable_auto_commit=False,
            auto_offset_reset="earliest",  # where retention has deleted the first record, the oldest remaining one counts
            isolation_level=isolation_level,
            max_partition_fetch_bytes=FETCH_BYTES,
        )
        samples: dict[TopicPartition, Sample] = {}
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await client.start()
                client.assign(list(unread))
                for partition, offsets in unread.items():
                    client.seek(partition, offsets.first)
                while len(samples) < len(unread):
                    await self._poll(client, unread, samples)
        except (KafkaError, OSError, TimeoutError) as error:
            log.debug("lag_sample_incomplete", error=repr(error))
        finally:
            await close_client(client, TIMEOUT_SECONDS)
        return samples

    async def _poll(
        self,
        client: AIOKafkaConsumer,
        unread: Mapping[TopicPartition, OffsetRange],
        samples: dict[TopicPartition, Sample],
    ) -> None:
        # One record at a time: brokers send whole batches, and unpacking them costs a draining consumer much of its rate.
        for partition, records in (await client.getmany(timeout_ms=200, max_records=1)).items():
            samples.setdefault(partition, Sample(records[0].timestamp))
            client.pause(partition)
        for partition in unread.keys() - samples.keys():
            if await client.position(partition) >= max(unread[partition].stable_end, unread[partition].first + 1):
                samples[partition] = Sample(None)


@dataclass(frozen=True, slots=True)
class _Waiting:
    unread: OffsetRange
    since: float  # seconds since 1970
    sample: Sample | None = None

    def advance(self, unread: OffsetRange) -> "_Waiting":
        """Keep the sample for a longer range, unless it found only markers: records may follow them."""
        outdated = self.sample == Sample(None) and unread != self.unread
        return _Waiting(unread, self.since, None if outdated else self.sample)

    def oldest(self) -> float | None:
        """When the oldest record was produced, or first seen unread, in seconds since 1970; None when there is no record."""
        if self.sample is None:
            return self.since
        if self.sample.timestamp is None:
            return self.since if self.unread.stable_end < self.unread.end else None
        produced = plausible_timestamp(self.sample.timestamp)
        return self.since if produced is None else produced / 1000


class OldestUnread:
    """The oldest unread record of partitions without buffered records: stopped, halted, just assigned, or not yet fetched.

    Until a partition has been at one offset for SAMPLE_AFTER_SECONDS, its age counts from when it was first seen there. Then its
    first record is sampled, once.
    """

    def __init__(self, sampler: RecordSampler) -> None:
        self._sampler = sampler
        self._waiting: dict[TopicPartition, _Waiting] = {}

    async def timestamps(
        self, unread: Mapping[TopicPartition, OffsetRange], available: Set[TopicPartition]
    ) -> dict[TopicPartition, float]:
        """When the oldest unread record of each partition was produced, in seconds since 1970.

        A partition without records, only transaction markers, is left out. Only `available` partitions are sampled: Kafka would
        not answer for the others.
        """
        now = time.time()
        waiting = {
            partition: before.advance(unread[partition])
            for partition, before in self._waiting.items()
            if partition in unread and unread[partition].first == before.unread.first
        }
        due = {
            partition: each.unread
            for partition, each in waiting.items()
            if partition in available and each.sample is None and now - each.since >= SAMPLE_AFTER_SECONDS
        }
        for partition, sample in (await self._sampler.sample(due) if due else {}).items():
            waiting[partition] = replace(waiting[partition], sample=sample)
        self._waiting = {partition: waiting.get(partition, _Waiting(unread[partition], now)) for partition in unread}
        oldest = {partition: each.oldest() for partition, each in self._waiting.items()}
        return {partition: timestamp for partition, timestamp in oldest.items() if timestamp is not None}
