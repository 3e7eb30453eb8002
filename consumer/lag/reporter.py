"""Every second: how far behind each partition is, and offsets told to Kafka for its own tools.

ends of the logs (from Kafka) - offsets written (of the database) -> records of lag -> age of the oldest: in hand, or peeked at
"""

import asyncio
import time
from collections.abc import Mapping, Set
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from consumer.lag.oldest_unread import OffsetRange, OldestUnread, RecordPeeker
from consumer.lag.replicas_needed import ReplicasNeeded
from consumer.monitoring.metrics import Metrics
from consumer.pipeline.poll_loop import Pipeline

log = structlog.get_logger(__name__)

EVERY_SECONDS: Final = 1.0
KAFKA_ANSWERS_WITHIN_SECONDS: Final = 5.0


class LagReporter:
    """Watches the pipeline from beside it."""

    def __init__(self, consumer: AIOKafkaConsumer, pipeline: Pipeline, metrics: Metrics, peek: RecordPeeker) -> None:
        self._consumer = consumer
        self._pipeline = pipeline
        self._metrics = metrics
        self._oldest = OldestUnread(peek)
        self._demand = ReplicasNeeded()
        self._ends: dict[TopicPartition, int] = {}
        self._told_kafka: dict[TopicPartition, int] = {}

    async def run(self) -> None:
        """Report until cancelled."""
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            await self._measure()
            await self.tell_kafka()

    async def _measure(self) -> None:
        """Of all partitions that are ours, read or not: one that is stopped, halted or waits for the database is behind too."""
        ours = set(self._pipeline.assignment.stored)
        await self._look_at_ends(ours)
        unread = self._unread(ours)
        in_hand = {each: at / 1000 for each, at in self._pipeline.oldest_unwritten().items()}
        waiting = await self._oldest.of({each: span for each, span in unread.items() if each not in in_hand})
        began, now = waiting | in_hand, time.time()
        behind = {each: span.end - span.first for each, span in unread.items() if each in began}
        # some may have been taken away meanwhile, and their series with them
        ours &= self._pipeline.assignment.stored.keys()
        for partition in ours:
            late = partition in behind
            self._metrics.lag(partition, behind.get(partition, 0), max(0.0, now - began[partition]) if late else 0.0)
        self._report_demand(ours & self._pipeline.assignment.positions.keys(), behind)

    async def _look_at_ends(self, partitions: Set[TopicPartition]) -> None:
        """Where the logs end. Asked for: a partition that is not fetched now would tell nothing by itself."""
        try:
            async with asyncio.timeout(KAFKA_ANSWERS_WITHIN_SECONDS):
                told = await self._consumer.end_offsets(partitions) if partitions else {}
        except (KafkaError, TimeoutError) as error:
            log.debug("ends_not_told", error=repr(error))
            told = {}
        self._ends = {each: told.get(each, self._ends.get(each, 0)) for each in partitions}

    def _unread(self, partitions: Set[TopicPartition]) -> dict[TopicPartition, OffsetRange]:
        """What the database has not, of those that have any."""
        stored, written = self._pipeline.assignment.stored, self._pipeline.written
        spans = {
            each: OffsetRange(max(stored[each], written.get(each, 0)), self._ends[each])
            for each in partitions
            if each in stored
        }
        return {each: span for each, span in spans.items() if span.end > span.first}

    def _report_demand(self, read: Set[TopicPartition], behind: Mapping[TopicPartition, int]) -> None:
        """Of the partitions that are read: more replicas would not help the others."""
        self._demand.learn(time.monotonic(), {each: self._ends[each] for each in read}, *self._pipeline.throughput)
        self._metrics.replicas_needed.set(self._demand.replicas(sum(behind.get(each, 0) for each in read), len(read)))

    async def tell_kafka(self) -> None:
        """Commit the offsets to Kafka, best effort: they are for tools that read lag there, and are never read back."""
        written = dict(self._pipeline.written)
        news = {each: offset for each, offset in written.items() if self._told_kafka.get(each) != offset}
        if not news:
            return
        try:
            await asyncio.wait_for(self._consumer.commit(news), KAFKA_ANSWERS_WITHIN_SECONDS)
            self._told_kafka = written
        except (KafkaError, TimeoutError, ValueError) as error:
            log.debug("kafka_commit_skipped", error=repr(error))
