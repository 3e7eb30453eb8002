"""A reading over HTTP -> the same record a device would have produced -> acknowledged by Kafka."""

import asyncio
from typing import Any, Final

import msgspec
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from api.problems import Unavailable
from api.settings import ApiSettings
from schemas.readings import MeterReading, Reading

log = structlog.get_logger(__name__)

ACKNOWLEDGED_WITHIN_SECONDS: Final = 10.0
LOOK_AGAIN_SECONDS: Final = 1.0
_encode: Final = msgspec.json.Encoder().encode


class Gateway:
    """Produces readings. It comes up without Kafka, and says so until Kafka is there."""

    def __init__(self, settings: ApiSettings) -> None:
        self._settings = settings
        self._topics = {settings.kafka_meter_topic, settings.kafka_vehicle_topic}
        self._producer: Any = None
        self._missing = self._topics
        self._connecting: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look for Kafka and the topics, for as long as it takes."""
        self._connecting = asyncio.create_task(self._connect(), name="gateway")

    async def stop(self) -> None:
        """Send what is under way, and close."""
        if self._connecting:
            self._connecting.cancel()
            await asyncio.wait({self._connecting})
        if self._producer:
            await self._producer.stop()

    def waiting_for(self) -> str | None:
        """None when readings can be sent, else what is not there yet."""
        if self._producer is None:
            return f"Kafka at {self._settings.kafka_bootstrap_servers} does not answer yet"
        if self._missing:
            return f"topics that do not exist yet: {', '.join(sorted(self._missing))}"
        return None

    async def send(self, reading: Reading) -> None:
        """Return once Kafka has acknowledged the reading on all replicas it waits for.

        Raises:
            Unavailable: when it has not; the reading may be sent again, it is stored once.
        """
        if waiting_for := self.waiting_for():
            raise Unavailable(waiting_for)
        if isinstance(reading, MeterReading):
            topic, key = self._settings.kafka_meter_topic, reading.meter_id
        else:
            topic, key = self._settings.kafka_vehicle_topic, reading.vehicle_id
        try:
            async with asyncio.timeout(ACKNOWLEDGED_WITHIN_SECONDS):
                await self._producer.send_and_wait(topic, _encode(reading), key.encode())
        except (KafkaError, TimeoutError) as error:
            log.warning("reading_not_acknowledged", topic=topic, error=repr(error))
            raise Unavailable("Kafka has not acknowledged the reading; send it again, it is stored once") from None

    async def _connect(self) -> None:
        told = False
        while self._producer is None:
            producer = AIOKafkaProducer(
                **self._settings.client_options(),
                acks="all",
                enable_idempotence=True,
                compression_type="lz4",
                linger_ms=5,
            )
            try:
                await producer.start()
            except KafkaError as error:
                await producer.stop()
                if not told:
                    log.warning("waiting_for_kafka", servers=self._settings.kafka_bootstrap_servers, error=str(error))
                told = True
                await asyncio.sleep(LOOK_AGAIN_SECONDS)
            except asyncio.CancelledError:
                await producer.stop()
                raise
            else:
                self._producer = producer
        await self._find_topics()

    async def _find_topics(self) -> None:
        """Asks for all topics: asking for one by name would make it, where brokers create topics on demand."""
        while self._missing:
            try:
                cluster = await self._producer.client.fetch_all_metadata()
            except KafkaError as error:
                log.warning("topics_unknown", error=repr(error))
            else:
                self._missing = self._topics - cluster.topics()
            if self._missing:
                await asyncio.sleep(LOOK_AGAIN_SECONDS)
        log.info("gateway_ready", topics=sorted(self._topics))
