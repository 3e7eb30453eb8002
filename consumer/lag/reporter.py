"""The lag reporter: once a second, how far each partition is behind; also commits the offsets to Kafka for its own tools.

log ends (Kafka) - next offsets (database) -> records of lag -> age of the oldest one: buffered, or sampled from Kafka
"""

import asyncio
import time
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from consumer.lag.oldest_unread import OffsetRange, OldestUnread, RecordSampler
from consumer.lag.partition_logs import PartitionLogs
from consumer.lag.replicas_needed import ReplicasNeeded
from consumer.monitoring.metrics import Metrics
from consumer.pipeline.batch_writer import BatchWriter
from consumer.pipeline.positions import PartitionPositions
from consumer.pipeline.topic_buffer import TopicBuffers

log = structlog.get_logger(__name__)

REPORT_SECONDS: Final = 1.0
KAFKA_TIMEOUT_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class MeasuredLag:
    """The stored offset of a partition, and how many records behind it are not stored; 0 where only transaction markers are."""

    stored: int
    records: int


class LagReporter:
    """Observes the pipeline of one process. `measured` has the lag of each assigned partition, at most some seconds old."""

    def __init__(
        self,
        client: AIOKafkaConsumer,
        positions: PartitionPositions,
        buffers: TopicBuffers,
        writer: BatchWriter,
        sampler: RecordSampler,
        logs: PartitionLogs,
        metrics: Metrics,
    ) -> None:
        self._client = client
        self._positions = positions
        self._buffers = buffers
        self._writer = writer
        self._oldest = OldestUnread(sampler)
        self._logs = logs
        self._metrics = metrics
        self._replicas_needed = ReplicasNeeded()
        self._committed_to_kafka: dict[TopicPartition, int] = {}
        self.measured: dict[TopicPartition, MeasuredLag] = {}

    async def run(self) -> None:
        """Report until cancelled."""
        while True:
            await asyncio.sleep(REPORT_SECONDS)
            await self._report()
            await self.commit_to_kafka(self._positions.stored)

    async def commit_to_kafka(self, stored: Mapping[TopicPartition, int]) -> None:
        """Commit stored offsets to Kafka, best effort: for tools that show lag there; they are never read back."""
        changed = {each: offset for each, offset in stored.items() if self._committed_to_kafka.get(each) != offset}
        if not changed:
            return
        try:
            await asyncio.wait_for(self._client.commit(changed), KAFKA_TIMEOUT_SECONDS)
            self._committed_to_kafka = dict(stored)
        except (KafkaError, TimeoutError, ValueError) as error:
            log.debug("kafka_commit_skipped", error=repr(error))

    async def _report(self) -> None:
        """Report all assigned partitions: one that is stopped, halted or being restored is behind, too."""
        await self._logs.update()
        self._positions.verify(self._logs.suspected)
        stored = dict(self._positions.stored)
        assigned = stored.keys() & self._logs.ranges.keys()
        unread = self._unread(stored, assigned)
        buffered = {each: timestamp / 1000 for each, timestamp in self._buffers.oldest_unwritten().items()}
        unfetched = await self._oldest.timestamps(
            {each: span for each, span in unread.items() if each not in buffered}, self._logs.available
        )
        oldest, now = unfetched | buffered, time.time()
        behind = {each: span.end - span.first for each, span in unread.items() if each in oldest}
        assigned &= self._positions.stored.keys()  # a rebalance meanwhile has ended the series of revoked partitions
        for partition in assigned:
            seconds = max(0.0, now - oldest[partition]) if partition in behind else 0.0
            self._metrics.set_lag(partition, behind.get(partition, 0), seconds)
        self.measured = {each: MeasuredLag(stored[each], behind.get(each, 0)) for each in assigned}
        self._report_replicas_needed(assigned & self._positions.next_offsets.keys(), behind)

    def _unread(
        self, stored: Mapping[TopicPartition, int], partitions: Set[TopicPartition]
    ) -> dict[TopicPartition, OffsetRange]:
        """The offsets that are not in the database, as last read from it; records that cannot be read yet count."""
        ranges = self._logs.ranges
        spans = {each: OffsetRange(stored[each], ranges[each].end, ranges[each].stable_end) for each in partitions}
        return {each: span for each, span in spans.items() if span.end > span.first}

    def _report_replicas_needed(self, readable: Set[TopicPartition], behind: Mapping[TopicPartition, int]) -> None:
        """Count readable partitions alone: more consumers would not help the others."""
        ends = {each: self._logs.ranges[each].end for each in readable}
        self._replicas_needed.observe(time.monotonic(), ends, self._writer.throughput)
        lag = sum(behind.get(each, 0) for each in readable)
        self._metrics.replicas_needed.set(self._replicas_needed.estimate(lag, len(readable)))
