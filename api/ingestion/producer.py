"""The Kafka producer of the ingestion gateway, replaced when Kafka does not acknowledge in time.

reading -> the same record that a device would have produced -> partition queue -> acknowledged by Kafka, or not stored at all

aiokafka's idempotent producer retries without end. So the readings that Kafka has not acknowledged in time are discarded together
with their producer, and a new one is created: a reading whose response was 503 is not sent minutes later.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final

import msgspec
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError

from api.ingestion.admission import Admission
from api.ingestion.partition_queue import PartitionQueues, ProducerBatch
from api.problems import Unavailable
from api.settings import GatewaySettings
from schemas.records.readings import MeterReading, Reading
from schemas.tracing.tracer import NO_TRACER, Tracer

log = structlog.get_logger(__name__)

RETRY_SECONDS: Final = 1.0
CHECK_SECONDS: Final = 0.2
RETRY_AFTER_FAILURE_SECONDS: Final = 10.0  # an error of code hardly passes by itself
BATCH_BYTES: Final = 256 * 1024
RETRY_ADVICE: Final = "send it again, it is stored once"
_encode: Final = msgspec.json.Encoder().encode


class ReadingProducer:
    """Produces readings to their topics. Starts without Kafka and becomes ready when Kafka and the topics are there."""

    def __init__(self, settings: GatewaySettings, tracer: Tracer = NO_TRACER) -> None:
        self._settings = settings
        self.tracer = tracer
        self._meter_topic, self._vehicle_topic = settings.meter_topics[0], settings.vehicle_topics[0]
        self._topics = {self._meter_topic, self._vehicle_topic}
        self._missing_topics: set[str] = set()
        self._queues: PartitionQueues | None = None
        self._failure: str | None = None  # since the last attempt to connect
        self._task: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self.admission = Admission.from_settings(settings)
        self.on_discard: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Connects to Kafka in the background and retries until it succeeds."""
        self._task = asyncio.create_task(self._run(), name="reading-producer")

    async def stop(self) -> None:
        """Closes the producer. To be called when no request is in progress any more."""
        if self._task:
            self._task.cancel()
            await asyncio.wait({self._task})
        if self._closing:
            await asyncio.wait(self._closing, timeout=self._settings.ingestion_acknowledged_within_seconds)

    def waiting_for(self) -> str | None:
        """What is missing before readings can be sent; None when the producer is ready."""
        if self._queues:
            return None
        if self._failure:
            return self._failure
        if self._missing_topics:
            return f"topics that do not exist yet: {', '.join(sorted(self._missing_topics))}"
        return self._settings.unreachable_message()

    def check(self) -> None:
        """Rejects a request early, before its body is read.

        Raises:
            Unavailable: Kafka or a topic is not available.
            Overloaded: too much is in flight.
        """
        if self._queues is None:
            raise Unavailable(f"{self.waiting_for()}; {RETRY_ADVICE}")
        self.admission.check()

    def send(self, reading: Reading) -> ProducerBatch:
        """Queues a reading. It is stored in Kafka only when its batch completes without an error.

        Raises:
            Unavailable: Kafka or a topic is not available.
        """
        if self._queues is None:
            raise Unavailable(f"{self.waiting_for()}; {RETRY_ADVICE}")
        headers = self.tracer.headers()
        if isinstance(reading, MeterReading):
            return self._queues.append(self._meter_topic, reading.meter_id, _encode(reading), headers)
        return self._queues.append(self._vehicle_topic, reading.vehicle_id, _encode(reading), headers)

    async def _run(self) -> None:
        while True:
            try:
                await self._produce()
            except Exception as error:  # without this task nothing would be produced any more
                self._failure = f"the connection to Kafka has failed: {error!r}"
                log.exception("gateway_failed", retry_in=RETRY_AFTER_FAILURE_SECONDS)
                await asyncio.sleep(RETRY_AFTER_FAILURE_SECONDS)

    async def _produce(self) -> None:
        """Produce until the producer is unusable."""
        producer = await self._connect()
        try:
            await self._wait_for_topics(producer)
            self._queues, self._failure = PartitionQueues(producer, self._topics), None
            log.info("gateway_ready", topics=sorted(self._topics))
            await self._wait_until_unusable(self._queues)
            self.on_discard()
        finally:
            self._discard(producer)

    async def _connect(self) -> Any:
        logged = False
        while True:
            producer = self._new_producer()
            try:
                async with asyncio.timeout(2 * self._settings.ingestion_acknowledged_within_seconds):
                    await producer.start()
            except (KafkaError, OSError, TimeoutError) as error:
                await producer.stop()
                if not logged:
                    log.warning("waiting_for_kafka", servers=self._settings.kafka_bootstrap_servers, error=repr(error))
                logged = True
                await asyncio.sleep(RETRY_SECONDS)
            except BaseException:
                await producer.stop()
                raise
            else:
                return producer

    def _new_producer(self) -> Any:
        return AIOKafkaProducer(
            **self._settings.client_options(),
            acks="all",
            enable_idempotence=True,
            compression_type="lz4",
            max_batch_size=BATCH_BYTES,
            request_timeout_ms=max(1, int(self._settings.ingestion_acknowledged_within_seconds * 1000)),
        )

    async def _wait_for_topics(self, producer: Any) -> None:
        """Requests the metadata of all topics: a request for one by name would create it on brokers that create on demand."""
        while True:
            updated = await producer.client.force_metadata_update()
            partitions = producer.client.cluster.partitions_for_topic
            self._missing_topics = {topic for topic in self._topics if not partitions(topic)} if updated else set()
            if updated and not self._missing_topics:
                return
            await asyncio.sleep(RETRY_SECONDS)

    async def _wait_until_unusable(self, queues: PartitionQueues) -> None:
        """Returns when a batch is overdue or the producer is broken."""
        timeout = self._settings.ingestion_acknowledged_within_seconds
        while not queues.broken.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(queues.broken.wait(), CHECK_SECONDS)
            oldest = queues.oldest()
            if oldest is not None and queues.now() - oldest >= timeout:
                log.warning("kafka_ack_timeout", seconds=round(queues.now() - oldest, 1))
                return
            queues.add_new_partitions()

    def _discard(self, producer: Any) -> None:
        queues, self._queues = self._queues, None
        if queues:
            queues.fail(f"Kafka did not acknowledge the reading; {RETRY_ADVICE}")
        closing = asyncio.create_task(_close(producer), name="producer-close")
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)


async def _close(producer: Any) -> None:
    """Closes a producer without sending what it still holds. Its own stop() would wait for that, without end if need be."""
    sender = producer._sender.sender_task  # noqa: SLF001 - aiokafka has no public way to stop the retries
    sender.cancel()
    await asyncio.wait({sender})  # the request in flight returns or times out
    producer._message_accumulator.fail_all(KafkaTimeoutError())  # noqa: SLF001
    await producer.stop()
