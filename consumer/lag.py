"""Every second: how far behind each partition is, and offsets told to Kafka for its own tools."""

import asyncio
import time
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from consumer.metrics import Metrics
from consumer.pipeline import Pipeline

log = structlog.get_logger(__name__)

EVERY_SECONDS: Final = 1.0
COMMIT_TIMEOUT_SECONDS: Final = 5.0


class LagReporter:
    """Watches the pipeline from beside it."""

    def __init__(self, consumer: AIOKafkaConsumer, pipeline: Pipeline, metrics: Metrics) -> None:
        self._consumer = consumer
        self._pipeline = pipeline
        self._metrics = metrics
        self._told_kafka: dict[TopicPartition, int] = {}

    async def run(self) -> None:
        """Report until cancelled."""
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            self._measure()
            await self.tell_kafka()

    def _measure(self) -> None:
        oldest = self._pipeline.oldest_unwritten()
        for partition, read_up_to in self._pipeline.assignment.positions.items():
            if partition not in self._consumer.assignment():
                continue
            end = self._consumer.highwater(partition)
            written = self._pipeline.written.get(partition, read_up_to)
            behind = max(0, (end or 0) - written)
            age = time.time() - oldest[partition] / 1000 if partition in oldest else 0.0
            self._metrics.lag(partition, behind, max(0.0, age) if behind else 0.0)

    async def tell_kafka(self) -> None:
        """Commit the offsets to Kafka, best effort: they are for tools that read lag there, and are never read back."""
        written = dict(self._pipeline.written)
        news = {each: offset for each, offset in written.items() if self._told_kafka.get(each) != offset}
        if not news:
            return
        try:
            await asyncio.wait_for(self._consumer.commit(news), COMMIT_TIMEOUT_SECONDS)
            self._told_kafka = written
        except (KafkaError, TimeoutError, ValueError) as error:
            log.debug("kafka_commit_skipped", error=repr(error))
