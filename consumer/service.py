"""A consumer process: built, run until stopped, shut down in bounded time.

probes and metrics up -> database pool -> Kafka client -> pipeline and background tasks -> SIGTERM -> flush -> leave the group
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import asyncpg
import structlog
from aiokafka import AIOKafkaConsumer

from consumer.alert_relay import AlertRelay
from consumer.formats.decoders import open_decoders
from consumer.gc_schedule import collect_on_schedule
from consumer.kafka.client import ClientStoppedError, close_client, start_client
from consumer.kafka.group_coverage import GroupCoverage
from consumer.kafka.static_membership import InstanceIdTakenError, StaticMembership
from consumer.kafka.subscription import Subscription
from consumer.lag.log_ends import LogEnds
from consumer.lag.oldest_unread import RecordSampler
from consumer.lag.partition_logs import PartitionLogs
from consumer.lag.reporter import LagReporter
from consumer.monitoring import health as probes
from consumer.monitoring.health import Health
from consumer.monitoring.metrics import Metrics
from consumer.monitoring.watchdog import Watchdog
from consumer.pipeline.batch_writer import BatchWriter
from consumer.pipeline.breaker import Breaker
from consumer.pipeline.clock import Clock
from consumer.pipeline.offset_watch import OffsetWatch
from consumer.pipeline.poll_loop import PollLoop
from consumer.pipeline.positions import PartitionPositions
from consumer.pipeline.rebalance import RebalanceListener
from consumer.pipeline.topic_buffer import TopicBuffers
from consumer.settings import ConsumerSettings
from consumer.storage import offsets as stored_offsets
from consumer.storage.errors import describe
from consumer.storage.offsets import StoredOffsets
from consumer.storage.store import Store
from consumer.topic_registry import record_types_by_topic
from schemas.tracing.settings import start_tracer
from schemas.tracing.tracer import NO_TRACER, Tracer
from sql.connection import WRITER_SETTINGS, pool

log = structlog.get_logger("consumer")
T = TypeVar("T")

# All that may be in use at once, so that nothing waits for a connection that something else holds while it waits for a lock: a
# write for each of four topics; offset watch, log ends, clock, breakers and alert relay; reads of stored offsets with evictions.
CONNECTIONS: Final = 4 + 5 + stored_offsets.CONNECTIONS
LEAVE_TIMEOUT_SECONDS: Final = 8.0
EXIT_STOPPED: Final = 1  # by something outside of this program
EXIT_SOFTWARE: Final = 70  # as in sysexits.h: an error of this program
COMMAND_TIMEOUT_SECONDS: Final = 65.0  # slightly above the server's statement_timeout, so that its error comes first


async def run_consumer(settings: ConsumerSettings) -> None:
    """Run one consumer until SIGINT or SIGTERM; raises unrecoverable errors."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    metrics, health = Metrics(), Health(settings.token_problem)
    tracer = start_tracer(settings, "energy-consumer")
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
            async with heartbeat(health):
                client = await wait_or_stop(stop, start_client(settings, health))
            if client is None:
                return
            try:
                await run_pipeline(settings, client, database, metrics, health, stop, tracer)
            finally:
                await leave_group(client)
    finally:
        tracer.close()
        log.info("consumer_stopped")
        server.shutdown()


async def run_pipeline(
    settings: ConsumerSettings,
    client: AIOKafkaConsumer,
    database: "asyncpg.Pool[asyncpg.Record]",
    metrics: Metrics,
    health: Health,
    stop: asyncio.Event,
    tracer: Tracer = NO_TRACER,
) -> None:
    """Move records until `stop` is set; afterwards no write is in flight and no partition is being read."""
    topics, group_id = record_types_by_topic(settings), settings.kafka_group_id
    metrics.initialize(topics)
    store, offsets = Store(database, group_id, tracer), StoredOffsets(database, group_id)
    breaker = Breaker(database, settings, metrics, health)
    writer = BatchWriter(store, offsets, breaker, metrics, health, tracer)
    buffers = TopicBuffers(topics, writer, settings)
    positions = PartitionPositions(client, offsets, breaker, buffers, metrics, health)
    listener = RebalanceListener(client, positions, StaticMembership(settings, client), metrics, health)
    subscription = Subscription(client, topics, listener, GroupCoverage(settings, client, metrics), metrics, health)
    clock, logs = Clock(database, metrics, health), PartitionLogs(client, metrics, health)
    reporter = LagReporter(client, positions, buffers, writer, RecordSampler(settings), logs, metrics)
    try:
        async with open_decoders(settings, topics) as decoders, asyncio.TaskGroup() as group:
            loop = PollLoop(settings, client, listener, positions, decoders, breaker, buffers, clock, health=health)
            background = [
                group.create_task(subscription.run()),
                group.create_task(reporter.run()),
                group.create_task(LogEnds(database, group_id, reporter).run()),
                group.create_task(OffsetWatch(client, offsets, positions, buffers, metrics).run()),
                group.create_task(loop.apply_operator_decisions()),
                group.create_task(clock.keep_comparing()),
                group.create_task(AlertRelay(database, settings, metrics).run()),
                group.create_task(collect_on_schedule()),
                *(group.create_task(decoder.prepare(topic)) for topic, decoder in decoders.items()),
            ]
            await loop.run(stop)
            await cancel_all(background)
        await reporter.commit_to_kafka(positions.stored | writer.committed)  # `stored` is up to a second old
    finally:
        await positions.revoke_all()


async def cancel_all(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks, repeatedly, until all have ended.

    Before Python 3.12 `asyncio.wait_for` swallows a cancellation that arrives together with its result.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=1)


async def leave_group(client: AIOKafkaConsumer) -> None:
    """Leave the group, so that the other members need not wait for our session to expire."""
    if not await close_client(client, LEAVE_TIMEOUT_SECONDS):
        log.warning("group_leave_timeout", reason="Kafka did not respond; the session expires by itself")


def exit_code(failure: BaseException) -> int:
    """The exit code after `run_consumer` has raised. Logs each error that was not logged where it was found."""
    internal = [each for each in _leaves(failure) if not isinstance(each, (InstanceIdTakenError, ClientStoppedError))]
    for error in internal:
        log.critical("internal_error", error=describe(error), exc_info=error)
    return EXIT_SOFTWARE if internal else EXIT_STOPPED


def _leaves(failure: BaseException) -> Iterator[BaseException]:
    if isinstance(failure, BaseExceptionGroup):
        for each in failure.exceptions:
            yield from _leaves(each)
    else:
        yield failure


@asynccontextmanager
async def heartbeat(health: Health) -> AsyncIterator[None]:
    """Keep the process live while the event loop runs, until the poll loop reports its own progress."""

    async def beat() -> None:
        while True:
            health.beat()
            await asyncio.sleep(1)

    beating = asyncio.create_task(beat(), name="heartbeat")
    try:
        yield
    finally:
        beating.cancel()


async def wait_or_stop(stop: asyncio.Event, awaited: Coroutine[Any, Any, T]) -> T | None:
    """The result of `awaited`, or None when `stop` is set first."""
    task, stopped = asyncio.create_task(awaited), asyncio.create_task(stop.wait())
    await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if task.done():
        return task.result()
    task.cancel()
    await asyncio.wait({task})
    return None
