"""Readings -> parcels, one lane a partition -> Kafka. Readings that come close together share one acknowledgement."""

import asyncio
from collections import deque
from functools import lru_cache
from typing import Any, Final

import structlog
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError
from aiokafka.partitioner import murmur2

log = structlog.get_logger(__name__)

LINGER_SECONDS: Final = (
    0.005  # how long readings wait for others: all lanes set out together, in one request to a broker
)


@lru_cache(maxsize=262_144)  # clients choose the ids, so what is remembered of them is bounded
def _hash(key: bytes) -> int:
    return int(murmur2(key)) & 0x7FFF_FFFF


class ProducerBatch:
    """Readings of one partition that share one acknowledgement. `error` says why there is none, once it is settled."""

    __slots__ = ("builder", "error", "opened", "settled")

    def __init__(self, builder: Any, opened: float) -> None:
        self.builder = builder
        self.opened = opened
        self.settled = asyncio.Event()
        self.error: str | None = None

    def settle(self, error: str | None) -> None:
        """Kafka has it, or will not get it from us. What was said first stays."""
        if not self.settled.is_set():
            self.error = error
            self.settled.set()


class PartitionQueue:
    """One partition: at most one parcel is under way, those after it wait, so that the order of readings stays."""

    def __init__(self, lanes: "PartitionQueues", topic: str, partition: int) -> None:
        self._lanes = lanes
        self._topic = topic
        self._partition = partition
        self._waiting: deque[ProducerBatch] = deque()
        self._under_way: ProducerBatch | None = None
        self._sending: asyncio.Task[None] | None = None

    def put(self, key: bytes, value: bytes) -> ProducerBatch:
        """Add a reading to the last parcel that waits, or to a new one."""
        if not self._waiting or self._waiting[-1].builder.append(timestamp=None, key=key, value=value) is None:
            parcel = ProducerBatch(self._lanes.producer.create_batch(), self._lanes.now())
            parcel.builder.append(timestamp=None, key=key, value=value)  # an empty one takes any single record
            self._waiting.append(parcel)
            self._lanes.calls(self)
        return self._waiting[-1]

    def oldest(self) -> float | None:
        """When the first parcel was opened that is not settled."""
        first = self._under_way or (self._waiting[0] if self._waiting else None)
        return first.opened if first else None

    def fail(self, error: str) -> None:
        """Nothing of this lane is sent any more."""
        if self._sending:
            self._sending.cancel()
        for parcel in (*([self._under_way] if self._under_way else []), *self._waiting):
            parcel.settle(error)
        self._waiting.clear()
        self._under_way = None

    def set_out(self) -> None:
        """Send the parcel that has waited longest, when none is under way."""
        if self._waiting and self._under_way is None:
            self._under_way = self._waiting.popleft()
            self._sending = asyncio.create_task(self._send(self._under_way))

    async def _send(self, parcel: ProducerBatch) -> None:
        parcel.builder.close()
        try:
            await (await self._lanes.producer.send_batch(parcel.builder, self._topic, partition=self._partition))
        except (KafkaError, AssertionError) as error:  # it asserts that the partition is known
            self._refused(parcel, error)
        else:
            parcel.settle(None)
        self._under_way = None
        if len(self._waiting) > 1:
            self.set_out()  # the next one is full
        elif self._waiting:
            self._lanes.calls(self)

    def _refused(self, parcel: ProducerBatch, error: Exception) -> None:
        log.warning("readings_not_acknowledged", topic=self._topic, partition=self._partition, error=repr(error))
        if isinstance(error, TopicAuthorizationFailedError):
            parcel.settle(f"Kafka does not let this service write to the topic {self._topic}; tell its operators")
        else:
            parcel.settle("Kafka has refused the reading for now")
            self._lanes.broken.set()


class PartitionQueues:
    """The lanes of one producer. They are given up with it: `broken` says that nothing more can be sent."""

    def __init__(self, producer: Any, topics: set[str]) -> None:
        self.producer = producer
        self.broken = asyncio.Event()
        self.now = asyncio.get_running_loop().time
        self._lanes: dict[str, list[PartitionQueue]] = {topic: [] for topic in topics}
        self._calling: list[PartitionQueue] = []
        self.follow_metadata()

    def put(self, topic: str, device_id: str, value: bytes) -> ProducerBatch:
        """Add a reading to the lane of its device, which is the partition that the device itself would have written to."""
        key = device_id.encode()
        lanes = self._lanes[topic]
        return lanes[_hash(key) % len(lanes)].put(key, value)

    def calls(self, lane: PartitionQueue) -> None:
        """That lane has a parcel that waits."""
        if not self._calling:
            asyncio.get_running_loop().call_later(LINGER_SECONDS, self._set_out)
        self._calling.append(lane)

    def _set_out(self) -> None:
        calling, self._calling = self._calling, []
        for lane in calling:
            lane.set_out()

    def follow_metadata(self) -> None:
        """Use partitions that were added since. A topic that has gone keeps its lanes: they will be overdue."""
        for topic, lanes in self._lanes.items():
            known = self.producer.client.cluster.partitions_for_topic(topic) or ()
            lanes.extend(PartitionQueue(self, topic, partition) for partition in range(len(lanes), len(known)))

    def waits_since(self) -> float | None:
        """When the reading came that has waited longest for its acknowledgement, by the loop's clock."""
        return min((oldest for lane in self._all() if (oldest := lane.oldest()) is not None), default=None)

    def fail(self, error: str) -> None:
        """Settle everything that is not acknowledged."""
        for lane in self._all():
            lane.fail(error)

    def _all(self) -> list[PartitionQueue]:
        return [lane for lanes in self._lanes.values() for lane in lanes]
