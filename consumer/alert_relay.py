"""alert_outbox -> the alert topic: every event at least once, in the order it was written, by one replica at a time.

look, every second -> Kafka and the topic are there? -> lock, oldest event -> acknowledged by Kafka -> published_at -> COMMIT
"""

import asyncio
from typing import Any, Final

import asyncpg
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from consumer.monitoring.metrics import Metrics
from consumer.settings import ConsumerSettings
from sql.queries import queries

log = structlog.get_logger(__name__)

LOOK_SECONDS: Final = 1.0
ACKNOWLEDGED_WITHIN_SECONDS: Final = 5.0  # the server ends a session that is idle in its transaction for ten
CLOSED_WITHIN_SECONDS: Final = 2.0


class TopicMissingError(Exception):
    """The alert topic does not exist yet; it is not made by us."""


class AlertRelay:
    """Publishes beside the pipeline. What is away is waited for, and said once; nothing of it ends the replica."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", settings: ConsumerSettings, metrics: Metrics) -> None:
        self._pool = pool
        self._settings = settings
        self._topic = settings.kafka_alert_topic
        self._metrics = metrics
        self._producer: Any = None
        self._found_topic = False
        self._unacknowledged: tuple[int, asyncio.Future[Any]] | None = None
        self._told: str | None = None

    async def run(self) -> None:
        """Publish until cancelled."""
        try:
            while True:
                await self._look()
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            await self._close()

    async def _look(self) -> None:
        try:
            while await self._count_waiting():
                await self._connect()
                if not await self._publish_oldest():
                    return
            self._goes_on()
        except Exception as error:  # noqa: BLE001 - whatever it is, the events stay where they are, and readings go on
            self._found_topic = False
            self._waits(error)

    async def _count_waiting(self) -> int:
        async with self._pool.acquire() as connection:
            waiting: int = (await queries.waiting_alerts(connection))["alerts"]
        self._metrics.alerts_waiting.set(waiting)
        return waiting

    async def _connect(self) -> None:
        """A producer, and the topic seen. Asks for all topics: asking for one by name might make it."""
        if self._producer is None:
            producer = AIOKafkaProducer(
                **self._settings.client_options(), client_id="energy-alerts", acks="all", enable_idempotence=True
            )
            try:
                await producer.start()
            except BaseException:
                await producer.stop()
                raise
            self._producer = producer
        if not self._found_topic:
            async with asyncio.timeout(ACKNOWLEDGED_WITHIN_SECONDS):
                cluster = await self._producer.client.fetch_all_metadata()
            if self._topic not in cluster.topics():
                raise TopicMissingError(f"the topic {self._topic} does not exist yet")
            self._found_topic = True

    async def _publish_oldest(self) -> bool:
        """Whether there was one to publish, and no other replica at it."""
        async with self._pool.acquire() as connection, connection.transaction():
            if not (await queries.try_alerts(connection))["ours"]:
                return False
            alert = await queries.oldest_alert(connection)
            if alert is None:
                return False
            async with asyncio.timeout(ACKNOWLEDGED_WITHIN_SECONDS):
                await self._send(alert)
            await queries.mark_published(connection, event_id=alert["event_id"])
        self._metrics.alerts_published.inc()
        self._goes_on()
        return True

    async def _send(self, alert: Any) -> None:
        """Return once Kafka has acknowledged the event.

        One whose acknowledgement did not come in time is on its way all the same: it is waited for again, not sent again.
        """
        try:
            if self._unacknowledged is None or self._unacknowledged[0] != alert["event_id"]:
                sent = await self._producer.send(self._topic, alert["value"].encode(), alert["key"].encode())
                self._unacknowledged = alert["event_id"], sent
            await asyncio.shield(self._unacknowledged[1])
            self._unacknowledged = None
        except Exception:
            await self._close()  # a producer that has refused is made anew
            raise

    async def _close(self) -> None:
        producer, self._producer = self._producer, None
        self._found_topic, self._unacknowledged = False, None
        if producer is None:
            return
        try:
            await asyncio.wait_for(producer.stop(), CLOSED_WITHIN_SECONDS)
        except (KafkaError, TimeoutError):
            await producer.client.close()

    def _waits(self, error: Exception) -> None:
        kind = type(error).__name__
        if kind != self._told:
            log.warning("alerts_wait", error=repr(error))
            self._told = kind

    def _goes_on(self) -> None:
        if self._told:
            log.info("alerts_go_on")
            self._told = None
