"""Records -> one open batch a partition -> Kafka, idempotent and acknowledged by all replicas.

aiokafka's `send` costs 10 microseconds and a future a record; filling its batches ourselves costs 1 and a future a batch.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError
from aiokafka.partitioner import DefaultPartitioner

from deploy.simulator.readings import Record, Side
from schemas.config.settings import KafkaSettings

Say = Callable[[str], None]
READINGS: Final = (Side.METER, Side.VEHICLE)
BATCH_BYTES: Final = 256 * 1024
RETRY_S: Final = 1.0
_partition_for: Final = DefaultPartitioner()


@dataclass(slots=True)
class Tally:
    """Records handed to Kafka, acknowledged by it, and refused by it."""

    sent: int = 0
    acknowledged: int = 0
    errors: int = 0


@dataclass(slots=True)
class OpenBatch:
    """The batch of one partition that is being filled."""

    topic: str
    partition: int
    builder: Any


class ReadingProducer:
    """Sends records of some sides and keeps the tally. `say` tells a person why it waits."""

    def __init__(self, settings: KafkaSettings, say: Say, sides: Iterable[Side] = READINGS) -> None:
        self.tally = Tally()
        self._settings = settings
        self._say = say
        topics = {
            Side.METER: settings.kafka_meter_topic,
            Side.VEHICLE: settings.kafka_vehicle_topic,
            Side.ASSIGNMENT: settings.kafka_assignment_topic,
        }
        self._topics = {side: topics[side] for side in sides}
        self._producer: Any = None
        self._batches: dict[Side, list[OpenBatch]] = {}
        self._batch_of: dict[Side, dict[bytes, OpenBatch]] = {side: {} for side in Side}

    async def start(self) -> None:
        """Wait for Kafka, then for the topics; creates none."""
        self._producer = await self._connect()
        for side, topic in self._topics.items():
            partitions = await self._partitions(topic)
            self._batches[side] = [
                OpenBatch(topic, partition, self._producer.create_batch()) for partition in sorted(partitions)
            ]

    async def send(self, records: Iterable[Record]) -> None:
        """Append each record to the batch of its partition; waits when Kafka is slower than we are."""
        now_ms = int(time.time() * 1000)
        for record in records:
            batch = self._batch_of[record.side].get(record.key) or self._find_batch(record)
            if batch.builder.append(timestamp=now_ms, key=record.key, value=record.value) is None:
                await self._hand_over(batch)
                batch.builder.append(timestamp=now_ms, key=record.key, value=record.value)

    async def push(self) -> None:
        """Hand over all batches that hold records, full or not."""
        for batches in self._batches.values():
            for batch in batches:
                if batch.builder.record_count():
                    await self._hand_over(batch)

    async def stop(self, patience_s: float) -> None:
        """Wait until Kafka has acknowledged everything, at most `patience_s` seconds."""
        if self._producer is None:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await self.push()
                await self._producer.stop()
                return
        self._say(f"gave up waiting: {self.tally.sent - self.tally.acknowledged} records are not acknowledged")
        await self._producer.client.close()

    async def _connect(self) -> Any:
        while True:
            producer = AIOKafkaProducer(
                **self._settings.client_options(),
                acks="all",
                enable_idempotence=True,
                compression_type="lz4",
                linger_ms=20,
                max_batch_size=BATCH_BYTES,
            )
            try:
                await producer.start()
            except asyncio.CancelledError:
                await producer.stop()
                raise
            except KafkaError as error:
                await producer.stop()
                self._say(f"waiting for Kafka at {self._settings.kafka_bootstrap_servers}: {error}")
                await asyncio.sleep(RETRY_S)
            else:
                return producer

    async def _partitions(self, topic: str) -> set[int]:
        """The topic's partitions. Asks about all topics, since asking about a missing one may create it."""
        while True:
            with suppress(KafkaError):
                cluster = await self._producer.client.fetch_all_metadata()
                if partitions := cluster.partitions_for_topic(topic):
                    return set(partitions)
            self._say(f"waiting for the topic {topic} to be created")
            await asyncio.sleep(RETRY_S)

    def _find_batch(self, record: Record) -> OpenBatch:
        batches = self._batches[record.side]
        batch: OpenBatch = _partition_for(record.key, batches, batches)
        self._batch_of[record.side][record.key] = batch
        return batch

    async def _hand_over(self, batch: OpenBatch) -> None:
        """Submit the batch, however long that takes: an idempotent producer retries until the broker is back."""
        full, batch.builder = batch.builder, self._producer.create_batch()
        full.close()
        self.tally.sent += full.record_count()
        while True:
            try:
                future = await self._producer.send_batch(full, batch.topic, partition=batch.partition)
            except KafkaTimeoutError:
                self._say(f"waiting for Kafka to take records of {batch.topic}, partition {batch.partition}")
            else:
                future.add_done_callback(partial(self._settled, full.record_count()))
                return

    def _settled(self, records: int, future: "asyncio.Future[object]") -> None:
        if error := future.exception():
            self.tally.errors += records
            self._say(f"Kafka refused {records} records: {error!r}")
        else:
            self.tally.acknowledged += records
