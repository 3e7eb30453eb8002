"""A reading over HTTP -> the same record a device would have produced -> acknowledged by Kafka, or not kept at all.

aiokafka's idempotent producer tries for ever. So what Kafka has not acknowledged in time is given up together with its producer,
and a new one is made: nobody is told 503 for a reading that would still be sent minutes later.
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

log = structlog.get_logger(__name__)

LOOK_AGAIN_SECONDS: Final = 1.0
WATCH_SECONDS: Final = 0.2
PARCEL_BYTES: Final = 256 * 1024
SEND_AGAIN: Final = "send it again, it is stored once"
_encode: Final = msgspec.json.Encoder().encode


class ReadingProducer:
    """Produces readings. It comes up without Kafka, and says so until Kafka is there."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._topics = {settings.kafka_meter_topic, settings.kafka_vehicle_topic}
        self._missing: set[str] = set()
        self._lanes: PartitionQueues | None = None
        self._running: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self.admission = Admission.of(settings)
        self.on_given_up: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Begin to look for Kafka and the topics, for as long as it takes."""
        self._running = asyncio.create_task(self._run(), name="gateway")

    async def stop(self) -> None:
        """Close. The server has answered its requests before it calls this."""
        if self._running:
            self._running.cancel()
            await asyncio.wait({self._running})
        if self._closing:
            await asyncio.wait(self._closing, timeout=self._settings.ingestion_acknowledged_within_seconds)

    def waiting_for(self) -> str | None:
        """None when readings can be sent, else what is not there yet."""
        if self._lanes:
            return None
        if self._missing:
            return f"topics that do not exist yet: {', '.join(sorted(self._missing))}"
        return self._settings.unreachable_message()

    def check(self) -> None:
        """Whether a request has a chance, before its body is looked at.

        Raises:
            Unavailable: Kafka or a topic is away.
            Overloaded: too much is in flight.
        """
        if self._lanes is None:
            raise Unavailable(f"{self.waiting_for()}; {SEND_AGAIN}")
        self.admission.check()

    def put(self, reading: Reading) -> ProducerBatch:
        """Hand a reading over. It is kept when its parcel is settled without an error, and not before.

        Raises:
            Unavailable: Kafka or a topic is away.
        """
        if self._lanes is None:
            raise Unavailable(f"{self.waiting_for()}; {SEND_AGAIN}")
        if isinstance(reading, MeterReading):
            return self._lanes.put(self._settings.kafka_meter_topic, reading.meter_id, _encode(reading))
        return self._lanes.put(self._settings.kafka_vehicle_topic, reading.vehicle_id, _encode(reading))

    async def _run(self) -> None:
        while True:
            producer = await self._connect()
            try:
                await self._find_topics(producer)
                self._lanes = PartitionQueues(producer, self._topics)
                log.info("gateway_ready", topics=sorted(self._topics))
                await self._watch(self._lanes)
                self.on_given_up()
            finally:
                self._give_up(producer)

    async def _connect(self) -> Any:
        told = False
        while True:
            producer = self._new_producer()
            try:
                async with asyncio.timeout(2 * self._settings.ingestion_acknowledged_within_seconds):
                    await producer.start()
            except (KafkaError, OSError, TimeoutError) as error:
                await producer.stop()
                if not told:
                    log.warning("waiting_for_kafka", servers=self._settings.kafka_bootstrap_servers, error=repr(error))
                told = True
                await asyncio.sleep(LOOK_AGAIN_SECONDS)
            except asyncio.CancelledError:
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
            max_batch_size=PARCEL_BYTES,
            request_timeout_ms=max(1, int(self._settings.ingestion_acknowledged_within_seconds * 1000)),
        )

    async def _find_topics(self, producer: Any) -> None:
        """Asks for all topics: asking for one by name would make it, where brokers create topics on demand."""
        while True:
            answered = await producer.client.force_metadata_update()
            known = producer.client.cluster.partitions_for_topic
            self._missing = {topic for topic in self._topics if not known(topic)} if answered else set()
            if answered and not self._missing:
                return
            await asyncio.sleep(LOOK_AGAIN_SECONDS)

    async def _watch(self, lanes: PartitionQueues) -> None:
        """Return when the lanes are of no more use: one is overdue, or their producer is broken."""
        patience = self._settings.ingestion_acknowledged_within_seconds
        while not lanes.broken.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(lanes.broken.wait(), WATCH_SECONDS)
            since = lanes.waits_since()
            if since is not None and lanes.now() - since >= patience:
                log.warning("kafka_does_not_acknowledge", seconds=round(lanes.now() - since, 1))
                return
            lanes.follow_metadata()

    def _give_up(self, producer: Any) -> None:
        lanes, self._lanes = self._lanes, None
        if lanes:
            lanes.fail(f"Kafka has not acknowledged the reading; {SEND_AGAIN}")
        closing = asyncio.create_task(_close(producer), name="closing-a-producer")
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)


async def _close(producer: Any) -> None:
    """Close a producer without sending what it still holds: its own `stop` would wait for that, for ever if need be."""
    sender = producer._sender.sender_task  # noqa: SLF001 - there is no public way to make it stop trying
    sender.cancel()
    await asyncio.wait({sender})  # the request that is out comes back, or times out
    producer._message_accumulator.fail_all(KafkaTimeoutError())  # noqa: SLF001
    await producer.stop()
