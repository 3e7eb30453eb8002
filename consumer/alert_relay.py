"""The alert relay, a transactional outbox: every event at least once, in the order written, by one consumer at a time.

check, every second -> producer and topic ready? -> lock, oldest event -> acknowledged by Kafka -> published_at -> COMMIT
"""

import asyncio
from typing import Any, Final

import asyncpg
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from consumer.monitoring.metrics import Metrics
from consumer.settings import ConsumerSettings
from sql.connection import DATABASE_ERRORS
from sql.queries import queries

log = structlog.get_logger(__name__)

CHECK_SECONDS: Final = 1.0
ACK_TIMEOUT_SECONDS: Final = 5.0  # the server ends a session that is idle in its transaction for ten
CLOSE_TIMEOUT_SECONDS: Final = 2.0
FAILED_CHECK_SECONDS: Final = 60.0  # after an error of our own code, which hardly passes by itself


class TopicMissingError(Exception):
    """The alert topic does not exist; the relay never creates it."""


class AlertRelay:
    """Publishes the events of `alert_outbox`. Errors never end the process, because readings do not depend on alerts.

    Those of Kafka and PostgreSQL are retried and logged when they change; one of our own code is logged with its stack each time.
    """

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", settings: ConsumerSettings, metrics: Metrics) -> None:
        self._pool = pool
        self._settings = settings
        self._topic = settings.kafka_alert_topic
        self._metrics = metrics
        self._producer: Any = None
        self._topic_found = False
        self._unacknowledged: tuple[str, asyncio.Future[Any]] | None = None
        self._blocked_by: str | None = None

    async def run(self) -> None:
        """Publish until cancelled."""
        try:
            while True:
                await self._publish_all()
                await asyncio.sleep(CHECK_SECONDS)
        finally:
            await self._close_producer()

    async def _publish_all(self) -> None:
        try:
            while await self._count_waiting():
                await self._connect()
                if not await self._publish_oldest():
                    return
            self._report_unblocked()
        except (KafkaError, TopicMissingError, *DATABASE_ERRORS) as error:
            self._topic_found = False
            self._report_blocked(error)
        except Exception:  # of our own code: the events stay in the outbox, and readings must go on
            log.exception("alert_relay_failed", retry_in=FAILED_CHECK_SECONDS)
            await asyncio.sleep(FAILED_CHECK_SECONDS)

    async def _count_waiting(self) -> int:
        async with self._pool.acquire() as connection:
            waiting: int = (await queries.count_waiting_alerts(connection))["alerts"]
        self._metrics.alerts_waiting.set(waiting)
        return waiting

    async def _connect(self) -> None:
        """Start the producer and check that the topic exists, by listing all topics: asking for it by name might create it."""
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
        if not self._topic_found:
            async with asyncio.timeout(ACK_TIMEOUT_SECONDS):
                cluster = await self._producer.client.fetch_all_metadata()
            if self._topic not in cluster.topics():
                raise TopicMissingError(f"the topic {self._topic} does not exist yet")
            self._topic_found = True

    async def _publish_oldest(self) -> bool:
        """Publish the oldest event; False when there is none, or another consumer holds the lock."""
        async with self._pool.acquire() as connection, connection.transaction():
            if not (await queries.try_lock_alerts(connection))["ours"]:
                return False
            alert = await queries.oldest_alert(connection)
            if alert is None:
                return False
            async with asyncio.timeout(ACK_TIMEOUT_SECONDS):
                await self._send(alert)
            await queries.mark_published(connection, event_id=alert["event_id"])
        self._metrics.alerts_published.inc()
        self._report_unblocked()
        return True

    async def _send(self, alert: Any) -> None:
        """Return once Kafka has acknowledged the event.

        An event whose acknowledgement timed out is still in flight: it is awaited again, not sent again. It is recognised by its
        value, because a restored database gives the same number to another event.
        """
        try:
            if self._unacknowledged is None or self._unacknowledged[0] != alert["value"]:
                sent = await self._producer.send(self._topic, alert["value"].encode(), alert["key"].encode())
                self._unacknowledged = alert["value"], sent
            await asyncio.shield(self._unacknowledged[1])
            self._unacknowledged = None
        except Exception:
            await self._close_producer()  # a producer is not used again after an error
            raise

    async def _close_producer(self) -> None:
        producer, self._producer = self._producer, None
        self._topic_found, self._unacknowledged = False, None
        if producer is None:
            return
        try:
            await asyncio.wait_for(producer.stop(), CLOSE_TIMEOUT_SECONDS)
        except (KafkaError, TimeoutError):
            await producer.client.close()

    def _report_blocked(self, error: Exception) -> None:
        error_type = type(error).__name__
        if error_type != self._blocked_by:
            log.warning("alert_relay_blocked", error=repr(error))
            self._blocked_by = error_type

    def _report_unblocked(self) -> None:
        if self._blocked_by:
            log.info("alert_relay_unblocked")
            self._blocked_by = None
