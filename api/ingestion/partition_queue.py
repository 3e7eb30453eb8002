"""Readings -> producer batches, in one queue per partition -> Kafka.

Readings that arrive within a few milliseconds share a batch, and a batch has one acknowledgement.
"""

import asyncio
from collections import deque
from functools import lru_cache
from typing import Any, Final

import structlog
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError
from aiokafka.partitioner import murmur2

from schemas.tracing.tracer import Headers

log = structlog.get_logger(__name__)

# How long a new batch waits for more readings. The queues are flushed together: one request per broker.
LINGER_SECONDS: Final = 0.005


@lru_cache(maxsize=262_144)  # clients choose the ids, so the cache is bounded
def _partition_hash(key: bytes) -> int:
    return int(murmur2(key)) & 0x7FFF_FFFF


class ProducerBatch:
    """Readings of one partition that share one acknowledgement. `error` is None when completed successfully."""

    __slots__ = ("builder", "completed", "created_at", "error")

    def __init__(self, builder: Any, created_at: float) -> None:
        self.builder = builder
        self.created_at = created_at
        self.completed = asyncio.Event()
        self.error: str | None = None

    def complete(self, error: str | None) -> None:
        """Records the acknowledgement (None) or the error. Only the first call has an effect."""
        if not self.completed.is_set():
            self.error = error
            self.completed.set()


class PartitionQueue:
    """Batches for one partition. At most one is in flight, so that readings keep their order."""

    def __init__(self, queues: "PartitionQueues", topic: str, partition: int) -> None:
        self._queues = queues
        self._topic = topic
        self._partition = partition
        self._pending: deque[ProducerBatch] = deque()
        self._in_flight: ProducerBatch | None = None
        self._send_task: asyncio.Task[None] | None = None

    def append(self, key: bytes, value: bytes, headers: Headers) -> ProducerBatch:
        """Adds a reading to the last pending batch, or to a new one when that is full."""
        last = self._pending[-1].builder if self._pending else None
        if last is None or last.append(timestamp=None, key=key, value=value, headers=headers) is None:
            batch = ProducerBatch(self._queues.producer.create_batch(), self._queues.now())
            batch.builder.append(timestamp=None, key=key, value=value, headers=headers)  # accepts a record of any size
            self._pending.append(batch)
            self._queues.schedule(self)
        return self._pending[-1]

    def oldest(self) -> float | None:
        """When the oldest incomplete batch was created; None when there is none."""
        first = self._in_flight or (self._pending[0] if self._pending else None)
        return first.created_at if first else None

    def fail(self, error: str) -> None:
        """Fails all incomplete batches; nothing more is sent."""
        if self._send_task:
            self._send_task.cancel()
        for batch in (*([self._in_flight] if self._in_flight else []), *self._pending):
            batch.complete(error)
        self._pending.clear()
        self._in_flight = None

    def send_next(self) -> None:
        """Sends the oldest pending batch unless another is in flight."""
        if self._pending and self._in_flight is None:
            self._in_flight = self._pending.popleft()
            self._send_task = asyncio.create_task(self._send(self._in_flight))

    async def _send(self, batch: ProducerBatch) -> None:
        batch.builder.close()
        try:
            await (await self._queues.producer.send_batch(batch.builder, self._topic, partition=self._partition))
        except (KafkaError, AssertionError) as error:  # aiokafka asserts that the partition exists
            self._fail_batch(batch, error)
        else:
            batch.complete(None)
        self._in_flight = None
        if len(self._pending) > 1:
            self.send_next()  # the next batch is full
        elif self._pending:
            self._queues.schedule(self)

    def _fail_batch(self, batch: ProducerBatch, error: Exception) -> None:
        log.warning("readings_not_acknowledged", topic=self._topic, partition=self._partition, error=repr(error))
        if isinstance(error, TopicAuthorizationFailedError):
            batch.complete(
                f"this service has no permission to write to the Kafka topic {self._topic}; contact its operators"
            )
        else:
            batch.complete("Kafka has rejected the reading for now")
            self._queues.broken.set()


class PartitionQueues:
    """The queues of one producer, discarded together with it. `broken` is set when the producer can send nothing more."""

    def __init__(self, producer: Any, topics: set[str]) -> None:
        self.producer = producer
        self.broken = asyncio.Event()
        self.now = asyncio.get_running_loop().time
        self._queues: dict[str, list[PartitionQueue]] = {topic: [] for topic in topics}
        self._scheduled: list[PartitionQueue] = []
        self.add_new_partitions()

    def append(self, topic: str, device_id: str, value: bytes, headers: Headers) -> ProducerBatch:
        """Adds a reading to the queue of its device: the partition that Kafka's own clients choose for this key."""
        key = device_id.encode()
        queues = self._queues[topic]
        return queues[_partition_hash(key) % len(queues)].append(key, value, headers)

    def schedule(self, queue: PartitionQueue) -> None:
        """Sends the next batch of a queue after LINGER_SECONDS at most."""
        if not self._scheduled:
            asyncio.get_running_loop().call_later(LINGER_SECONDS, self._send_scheduled)
        self._scheduled.append(queue)

    def _send_scheduled(self) -> None:
        scheduled, self._scheduled = self._scheduled, []
        for queue in scheduled:
            queue.send_next()

    def add_new_partitions(self) -> None:
        """Adds queues for partitions that are new in the metadata. A deleted topic keeps its queues: they become overdue."""
        for topic, queues in self._queues.items():
            partitions = self.producer.client.cluster.partitions_for_topic(topic) or ()
            queues.extend(PartitionQueue(self, topic, partition) for partition in range(len(queues), len(partitions)))

    def oldest(self) -> float | None:
        """When the oldest incomplete batch was created, by the event loop's clock; None when there is none."""
        return min((oldest for queue in self._all() if (oldest := queue.oldest()) is not None), default=None)

    def fail(self, error: str) -> None:
        """Fails all incomplete batches of all queues."""
        for queue in self._all():
            queue.fail(error)

    def _all(self) -> list[PartitionQueue]:
        return [queue for queues in self._queues.values() for queue in queues]
