"""`python -m consumer`: one replica of the consumer group. Run as many as there are partitions."""

import asyncio
import signal
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import asyncpg
import structlog
import typer
import uvloop
from aiokafka import AIOKafkaConsumer

from consumer.alert_relay import AlertRelay
from consumer.commands import breaker, dead_letters, offsets
from consumer.gc_schedule import collect_regularly
from consumer.kafka import client as topics
from consumer.kafka.closing import close
from consumer.lag.oldest_unread import RecordPeeker
from consumer.lag.reporter import LagReporter
from consumer.monitoring import health as probes
from consumer.monitoring.health import Health
from consumer.monitoring.metrics import Metrics
from consumer.monitoring.watchdog import Watchdog
from consumer.pipeline.batch_writer import Writer
from consumer.pipeline.breaker import Breaker
from consumer.pipeline.operators import follow_operators
from consumer.pipeline.poll_loop import Pipeline
from consumer.records.decode import Decoder
from consumer.settings import ConsumerSettings
from consumer.storage.offsets import StoredOffsets
from consumer.storage.store import Store
from consumer.topic_registry import record_types_by_topic
from schemas.config.logging import configure_logging
from schemas.config.settings import from_environment
from sql.connection import WRITER_SETTINGS, pool

app = typer.Typer(
    help="One replica of the consumer group: Kafka to PostgreSQL, exactly once.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(offsets.app, name="offsets")
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(breaker.app, name="breaker")
log = structlog.get_logger("consumer")
T = TypeVar("T")

CONNECTIONS: Final = 8  # at most: a write for each topic, stored offsets, alerts, what operators decide
LEAVE_WITHIN_SECONDS: Final = 8.0
COMMAND_TIMEOUT_SECONDS: Final = 65.0  # a little above the server's own statement_timeout: it should speak first


@app.callback(invoke_without_command=True)
def run(context: typer.Context) -> None:
    """Read the topics and write what they carry, until SIGTERM or Ctrl-C. Settings come from the environment (.env.example)."""
    if context.invoked_subcommand:
        return
    settings = from_environment(ConsumerSettings)
    configure_logging(settings)
    uvloop.run(_consume(settings))


async def _consume(settings: ConsumerSettings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    metrics, health = Metrics(), Health()
    server, port = probes.serve(health, metrics, settings.metrics_host, settings.metrics_port)
    Watchdog(health).start()
    log.info("consumer_started", group=settings.kafka_group_id, metrics_port=port)
    try:
        async with pool(
            settings.database_url,
            size=CONNECTIONS,
            server_settings=WRITER_SETTINGS,
            command_timeout=COMMAND_TIMEOUT_SECONDS,
            slower_than_ms=settings.sql_log_slower_than_ms,
        ) as database:
            async with _beating(health):
                consumer = await _unless(stop, topics.connect(settings, health))
            if consumer is None:
                return
            try:
                await _flow(settings, consumer, database, metrics, health, stop)
            finally:
                await _leave(consumer)
    finally:
        log.info("consumer_stopped")
        server.shutdown()


async def _flow(
    settings: ConsumerSettings,
    consumer: AIOKafkaConsumer,
    database: "asyncpg.Pool[asyncpg.Record]",
    metrics: Metrics,
    health: Health,
    stop: asyncio.Event,
) -> None:
    read = record_types_by_topic(settings)
    metrics.know(read)
    decoders = {topic: Decoder(record_type) for topic, record_type in read.items()}
    store, stored = Store(database, settings.kafka_group_id), StoredOffsets(database, settings.kafka_group_id)
    guard = Breaker(database, settings, metrics, health)
    writer = Writer(store, stored, metrics, health)
    pipeline = Pipeline(settings, consumer, writer, stored, guard, decoders, metrics, health)
    reporter = LagReporter(consumer, pipeline, metrics, RecordPeeker(settings))
    async with asyncio.TaskGroup() as group:
        beside = [
            group.create_task(topics.subscribe(consumer, read, pipeline.assignment, metrics, health)),
            group.create_task(reporter.run()),
            group.create_task(follow_operators(pipeline, guard)),
            group.create_task(AlertRelay(database, settings, metrics).run()),
            group.create_task(collect_regularly()),
        ]
        await pipeline.run(stop)
        await _end(beside)
    await reporter.tell_kafka()
    await pipeline.assignment.release()


async def _end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks until they have ended: before Python 3.12 a wait with a time-out swallows the cancellation that comes with its
    result.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=1)


async def _leave(consumer: AIOKafkaConsumer) -> None:
    """Leave the group, so that the others need not wait for our session to end; but not for longer than that would take."""
    if not await close(consumer, LEAVE_WITHIN_SECONDS):
        log.warning("group_not_left", reason="Kafka has not answered; the session ends by itself")


@asynccontextmanager
async def _beating(health: Health) -> AsyncIterator[None]:
    """Live for as long as the event loop turns; the pipeline speaks for itself later."""

    async def beat() -> None:
        while True:
            health.beat()
            await asyncio.sleep(1)

    beating = asyncio.create_task(beat(), name="beat")
    try:
        yield
    finally:
        beating.cancel()


async def _unless(stop: asyncio.Event, waiting: Coroutine[Any, Any, T]) -> T | None:
    """The result of `waiting`, or None when `stop` is set before it has one."""
    task, stopped = asyncio.create_task(waiting), asyncio.create_task(stop.wait())
    await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if task.done():
        return task.result()
    task.cancel()
    await asyncio.wait({task})
    return None


if __name__ == "__main__":
    app()
