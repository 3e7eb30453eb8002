"""The aiokafka consumer: starting it, checking that it still works, closing it in bounded time."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from aiokafka.errors import InvalidSessionTimeoutError, KafkaConnectionError, KafkaError

from consumer.kafka.metadata_requests import limit_metadata_requests
from consumer.kafka.slim_records import install_slim_records
from consumer.monitoring.health import Health
from consumer.retry import retry_forever
from consumer.settings import ConsumerSettings

log = structlog.get_logger(__name__)

METADATA_MAX_AGE_SECONDS: Final = 10.0  # of partition counts and leaders
RESPONSE_TIMEOUT_MS: Final = 5_000  # of clients for a single question, which is asked again


class ClientStoppedError(Exception):
    """The client will never return a record again; only a new process can continue."""


async def start_client(settings: ConsumerSettings, health: Health) -> AIOKafkaConsumer:
    """A started consumer without a subscription; retries for as long as Kafka is away."""
    framed = [topic for topic, value_format in settings.formats_by_topic().items() if value_format != "json"]
    install_slim_records(framed, traced=settings.traces_url is not None)
    client: AIOKafkaConsumer
    async for attempt in retry_forever(KafkaError, OSError):
        client = _new_client(settings)  # outside the attempt: an error here does not mean that Kafka is away
        with attempt:
            try:
                await client.start()
            except (KafkaError, OSError) as error:
                health.block("kafka", settings.unreachable_message())
                log.warning("waiting_for_kafka", servers=settings.kafka_bootstrap_servers, error=str(error))
                await client.stop()
                raise
    health.unblock("kafka")
    return client


def _new_client(settings: ConsumerSettings) -> AIOKafkaConsumer:
    client = AIOKafkaConsumer(
        **settings.client_options(),
        group_id=settings.kafka_group_id,
        group_instance_id=settings.kafka_group_instance_id,  # with an instance id, stop() does not leave the group
        client_id="energy-consumer",
        auto_offset_reset="none",  # positions come from the database; a gap is reported, never skipped
        enable_auto_commit=False,
        isolation_level="read_committed",
        session_timeout_ms=settings.kafka_session_timeout_ms,
        max_poll_interval_ms=settings.kafka_max_poll_interval_ms,
        heartbeat_interval_ms=max(300, settings.kafka_session_timeout_ms // 4),
        metadata_max_age_ms=int(METADATA_MAX_AGE_SECONDS * 1000),
        partition_assignment_strategy=[_Assignor()],
    )
    limit_metadata_requests(client)
    return client


class _Assignor(RoundRobinPartitionAssignor):  # type: ignore[misc]
    """Deals out the partitions of all topics one by one: as many consumers as partitions find work.

    The user data of a member has no meaning to the assignment. Brokers start a rebalance when a member joins with different data,
    while a member that joins again with the same data gets its previous assignment.
    """

    def __init__(self) -> None:
        self._user_data = b""

    def metadata(self, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        return ConsumerProtocolMemberMetadata(self.version, list(topics), self._user_data)

    def renew_user_data(self) -> None:
        self._user_data = uuid.uuid4().bytes


def request_rebalance(client: AIOKafkaConsumer) -> None:
    """Join the group again in such a way that all of its partitions are assigned anew, whichever member is the leader."""
    (assignor,) = client._coordinator._assignors  # noqa: SLF001
    assignor.renew_user_data()
    client._coordinator.request_rejoin()  # noqa: SLF001


@asynccontextmanager
async def groupless_client(settings: ConsumerSettings) -> AsyncIterator[AIOKafkaConsumer]:
    """A started client without a group or an assignment, which knows the partitions of all topics and their leaders.

    Raises:
        KafkaError: Kafka does not answer.
    """
    client = AIOKafkaConsumer(
        **settings.client_options(),
        enable_auto_commit=False,
        auto_offset_reset="none",
        request_timeout_ms=RESPONSE_TIMEOUT_MS,
    )
    try:
        await client.start()
        if not await client._client.force_metadata_update():  # noqa: SLF001 - of all topics: it has subscribed to none
            raise KafkaConnectionError("no broker has answered a request for metadata")
        yield client
    finally:
        await client.stop()


def check_alive(client: AIOKafkaConsumer) -> None:
    """Check that the background tasks of a started client are running.

    aiokafka fetches, and keeps up its group membership, in tasks of its own. An error that ends one of them is only logged: the
    client keeps its partitions, and `getmany` returns nothing, or raises the same error, for ever. Seen when a leader was killed:
    two requests for the offset of one partition were in flight, and the second response failed an assertion.

    Raises:
        ClientStoppedError: a task has ended; its error is logged and attached as the cause.
    """
    # aiokafka itself never checks the first task, and checks the second only to raise its error again.
    for task in (client._fetcher.error_future, client._coordinator._coordination_task):  # noqa: SLF001
        if task.done():
            cause = None if task.cancelled() else task.exception()
            error = ClientStoppedError("the Kafka client has stopped fetching; restart this consumer")
            log.error("kafka_client_stopped", detail=str(error), error=repr(cause))
            raise error from cause


def unreadable_message(error: KafkaError, settings: ConsumerSettings) -> str:
    """Message for the time in which Kafka cannot be read; it names a setting that the brokers reject."""
    if isinstance(error, InvalidSessionTimeoutError):
        return (
            f"the brokers reject KAFKA_SESSION_TIMEOUT_MS={settings.kafka_session_timeout_ms}: it must lie between their "
            "group.min.session.timeout.ms (6000 by default) and group.max.session.timeout.ms (1800000 by default)"
        )
    return f"Kafka cannot be read: {error}"


async def close_client(client: AIOKafkaConsumer, within_seconds: float) -> bool:
    """Close the client's connections in at most twice the given time; whether `stop()` ended in time.

    `stop()` of aiokafka cancels its tasks and awaits them; where one of them was asleep in a retry, the task's CancelledError
    comes out of `stop()` and looks like a cancellation of the caller. So `stop()` runs in a task of its own.
    """
    stopping = asyncio.create_task(client.stop(), name="stop")
    await asyncio.wait({stopping}, timeout=within_seconds)
    if stopping.done() and not stopping.cancelled() and stopping.exception() is None:
        return True
    in_time = stopping.done()
    stopping.cancel()
    closing = asyncio.create_task(client._client.close(), name="close")  # noqa: SLF001 - the last step of stop()
    await asyncio.wait({closing}, timeout=within_seconds)
    return in_time
