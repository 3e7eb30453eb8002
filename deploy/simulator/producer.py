"""A Kafka producer for readings: records -> one open batch per partition -> Kafka, idempotent and with acks=all.

aiokafka's `send` costs 10 microseconds and a future per record. Batches that are filled here cost 1 microsecond per record and a
future per batch.
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

from deploy.simulator.readings import Record, RecordType
from schemas.config.settings import KafkaSettings
from schemas.tracing.settings import TracingSettings
from schemas.tracing.tracer import NO_TRACER, Headers, Tracer

Report = Callable[[str], None]
READINGS: Final = (RecordType.METER, RecordType.VEHICLE)
BATCH_BYTES: Final = 256 * 1024
RETRY_S: Final = 1.0
_partition_for: Final = DefaultPartitioner()


class SimulatorSettings(KafkaSettings, TracingSettings):
    """The environment variables of `python -m deploy.simulator`."""


@dataclass(slots=True)
class RecordCounts:
    """Records sent to Kafka, acknowledged by it, and rejected by it."""

    sent: int = 0
    acknowledged: int = 0
    errors: int = 0


@dataclass(slots=True)
class OpenBatch:
    """The batch of a partition that is being filled."""

    topic: str
    partition: int
    builder: Any


class ReadingProducer:
    """Sends records of some types and counts them. `report` receives the reasons for waiting."""

    def __init__(
        self,
        settings: KafkaSettings,
        report: Report,
        record_types: Iterable[RecordType] = READINGS,
        tracer: Tracer = NO_TRACER,
    ) -> None:
        self.counts = RecordCounts()
        self._settings = settings
        self._report = report
        self._tracer = tracer
        topics = {
            RecordType.METER: settings.meter_topics[0],
            RecordType.VEHICLE: settings.vehicle_topics[0],
            RecordType.ASSIGNMENT: settings.assignment_topics[0],
        }
        self._topics = {record_type: topics[record_type] for record_type in record_types}
        self._producer: Any = None
        self._batches: dict[RecordType, list[OpenBatch]] = {}
        self._batch_of: dict[RecordType, dict[bytes, OpenBatch]] = {record_type: {} for record_type in RecordType}

    async def start(self) -> None:
        """Waits for Kafka, then for the topics, and creates none."""
        self._producer = await self._connect()
        for record_type, topic in self._topics.items():
            partitions = await self._partitions(topic)
            self._batches[record_type] = [
                OpenBatch(topic, partition, self._producer.create_batch()) for partition in sorted(partitions)
            ]

    async def send(self, records: Iterable[Record]) -> None:
        """Appends each record to the batch of its partition. Waits while Kafka does not accept a full batch.

        All records of a call belong to one span.
        """
        with self._tracer.span("send readings", "producer", attributes={"messaging.system": "kafka"}):
            await self._append(records, self._tracer.headers())

    async def flush(self) -> None:
        """Sends all batches that contain records, full or not."""
        for batches in self._batches.values():
            for batch in batches:
                if batch.builder.record_count():
                    await self._send_batch(batch)

    async def stop(self, timeout_s: float) -> None:
        """Waits at most `timeout_s` seconds until Kafka has acknowledged everything, and stops."""
        if self._producer is None:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.flush()
                await self._producer.stop()
                return
        self._report(f"stopped before {self.counts.sent - self.counts.acknowledged} records were acknowledged")
        await self._producer.client.close()

    async def _append(self, records: Iterable[Record], headers: Headers) -> None:
        now_ms = int(time.time() * 1000)
        for record in records:
            batch = self._batch_of[record.record_type].get(record.key) or self._find_batch(record)
            if batch.builder.append(timestamp=now_ms, key=record.key, value=record.value, headers=headers) is None:
                await self._send_batch(batch)
                batch.builder.append(timestamp=now_ms, key=record.key, value=record.value, headers=headers)

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
                self._report(f"waiting for Kafka at {self._settings.kafka_bootstrap_servers}: {error}")
                await asyncio.sleep(RETRY_S)
            else:
                return producer

    async def _partitions(self, topic: str) -> set[int]:
        """Waits for the topic and returns its partitions. Fetches metadata of all topics: naming a missing one may create it."""
        while True:
            with suppress(KafkaError):
                cluster = await self._producer.client.fetch_all_metadata()
                if partitions := cluster.partitions_for_topic(topic):
                    return set(partitions)
            self._report(f"waiting for the topic {topic} to be created")
            await asyncio.sleep(RETRY_S)

    def _find_batch(self, record: Record) -> OpenBatch:
        batches = self._batches[record.record_type]
        batch: OpenBatch = _partition_for(record.key, batches, batches)
        self._batch_of[record.record_type][record.key] = batch
        return batch

    async def _send_batch(self, batch: OpenBatch) -> None:
        """Submits the batch and waits as long as that takes: an idempotent producer retries until the broker is back."""
        full, batch.builder = batch.builder, self._producer.create_batch()
        full.close()
        self.counts.sent += full.record_count()
        while True:
            try:
                future = await self._producer.send_batch(full, batch.topic, partition=batch.partition)
            except KafkaTimeoutError:
                self._report(f"waiting for Kafka to accept records of {batch.topic}, partition {batch.partition}")
            else:
                future.add_done_callback(partial(self._count, full.record_count()))
                return

    def _count(self, records: int, future: "asyncio.Future[object]") -> None:
        if error := future.exception():
            self.counts.errors += records
            self._report(f"Kafka rejected {records} records: {error!r}")
        else:
            self.counts.acknowledged += records
