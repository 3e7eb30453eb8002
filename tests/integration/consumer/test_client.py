"""Background behaviour of the Kafka client, observed through its internals in the process of the test."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from consumer.kafka.client import ClientStoppedError, close_client, start_client
from consumer.monitoring.health import Health
from consumer.monitoring.metrics import Metrics
from consumer.service import run_pipeline
from consumer.settings import ConsumerSettings
from deploy.stack.servers import Servers
from sql.connection import WRITER_SETTINGS, pool
from tests.support.database import Database, locked_tables
from tests.support.ledger import Topics
from tests.support.records import meter, minute
from tests.support.topics import restore_library_afterwards
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


@pytest.fixture
def settings(stack: Servers, database: Database, topics: Topics) -> ConsumerSettings:
    return ConsumerSettings(
        kafka_bootstrap_servers=stack.kafka_bootstrap_servers,
        kafka_group_id=f"fetching-{database.name}",
        kafka_meter_topic=topics.meter,
        kafka_vehicle_topic=topics.vehicle,
        kafka_assignment_topic=topics.assignment,
        database_url=SecretStr(database.writer_url),
    )


@pytest.fixture
async def consumer(settings: ConsumerSettings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AIOKafkaConsumer]:
    restore_library_afterwards(monkeypatch)
    connected = await start_client(settings, Health())
    yield connected
    await close_client(connected, 10)


@pytest.fixture
async def pipeline(settings: ConsumerSettings, consumer: AIOKafkaConsumer) -> AsyncIterator["asyncio.Task[None]"]:
    """The running pipeline of a consumer."""
    stop = asyncio.Event()
    async with pool(settings.database_url, size=8, server_settings=WRITER_SETTINGS, command_timeout=30) as database:
        running = asyncio.create_task(
            run_pipeline(settings, consumer, database, Metrics(CollectorRegistry()), Health(), stop), name="pipeline"
        )
        yield running
        stop.set()
        await asyncio.wait({running})


async def until_written(stack: Servers, database: Database, topic: str) -> None:
    """Produce one reading to each partition and wait until all of them are stored."""
    async with AIOKafkaProducer(bootstrap_servers=stack.kafka_bootstrap_servers, acks="all") as producer:
        for partition in range(4):
            await producer.send_and_wait(topic, meter(f"METER-{partition}", minute(0)), partition=partition)

    async def written() -> bool:
        return bool(await database.value("SELECT count(*) = 4 FROM meter_telemetry_history"))

    await until(written, "the readings are stored")


async def test_the_client_never_fetches_committed_offsets(
    stack: Servers, database: Database, topics: Topics, consumer: AIOKafkaConsumer, pipeline: Any
) -> None:
    """Two such requests for one partition, to its old leader and to its new one, would end the fetch task of the client."""

    def states() -> dict[TopicPartition, Any]:
        assigned = consumer._subscription.subscription and consumer._subscription.subscription.assignment
        return {each: assigned.state_value(each) for each in assigned.tps} if assigned else {}

    async def assigned() -> bool:
        return len(states()) == 4 * 2 and all(state.paused for state in states().values())

    async with locked_tables(database, "kafka_offsets"):  # the consumer cannot read the stored offsets either
        await until(assigned, "the partitions are assigned")
        assert all(state.has_valid_position for state in states().values())
        assert not any(state._committed_futs for state in states().values())
    await until_written(stack, database, topics.meter)
    assert not pipeline.done()


TASKS: dict[str, Callable[[AIOKafkaConsumer], "asyncio.Task[None]"]] = {
    "fetching": lambda consumer: consumer._fetcher._fetch_task,
    "membership": lambda consumer: consumer._coordinator._coordination_task,
}


@pytest.mark.parametrize("task", TASKS)
async def test_a_consumer_ends_when_a_background_task_of_its_client_has_ended(
    stack: Servers,
    database: Database,
    topics: Topics,
    consumer: AIOKafkaConsumer,
    pipeline: "asyncio.Task[None]",
    task: str,
) -> None:
    await until_written(stack, database, topics.meter)
    TASKS[task](consumer).cancel()
    await asyncio.wait({pipeline}, timeout=30)
    assert pipeline.done(), "it would have stayed in the group without consuming any record"
    error = pipeline.exception()
    assert isinstance(error, ExceptionGroup)
    assert error.subgroup(ClientStoppedError)
    assert "restart this consumer" in str(error.exceptions[0])
