"""What the Kafka client does behind our back, in one process with the test so that it can be seen."""

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
async def consumer(settings: ConsumerSettings) -> AsyncIterator[AIOKafkaConsumer]:
    connected = await start_client(settings, Health())
    yield connected
    await close_client(connected, 10)


@pytest.fixture
async def flow(settings: ConsumerSettings, consumer: AIOKafkaConsumer) -> AsyncIterator["asyncio.Task[None]"]:
    """A replica's flow of records."""
    stop = asyncio.Event()
    async with pool(settings.database_url, size=8, server_settings=WRITER_SETTINGS, command_timeout=30) as database:
        flowing = asyncio.create_task(
            run_pipeline(settings, consumer, database, Metrics(CollectorRegistry()), Health(), stop), name="flow"
        )
        yield flowing
        stop.set()
        await asyncio.wait({flowing})


async def until_written(stack: Servers, database: Database, topic: str) -> None:
    """A reading of each partition is stored."""
    async with AIOKafkaProducer(bootstrap_servers=stack.kafka_bootstrap_servers, acks="all") as producer:
        for partition in range(4):
            await producer.send_and_wait(topic, meter(f"METER-{partition}", minute(0)), partition=partition)

    async def written() -> bool:
        return bool(await database.value("SELECT count(*) = 4 FROM meter_telemetry_history"))

    await until(written, "the readings are stored")


async def test_kafka_is_never_asked_where_to_go_on(
    stack: Servers, database: Database, topics: Topics, consumer: AIOKafkaConsumer, flow: Any
) -> None:
    """Two such questions for one partition, to its old leader and to its new one, would end the client's fetching."""

    def states() -> dict[TopicPartition, Any]:
        assigned = consumer._subscription.subscription and consumer._subscription.subscription.assignment
        return {each: assigned.state_value(each) for each in assigned.tps} if assigned else {}

    async def assigned() -> bool:
        return len(states()) == 4 * 2 and all(state.paused for state in states().values())

    async with locked_tables(database, "kafka_offsets"):  # the database does not say it either
        await until(assigned, "the partitions are assigned")
        assert all(state.has_valid_position for state in states().values())
        assert not any(state._committed_futs for state in states().values())
    await until_written(stack, database, topics.meter)
    assert not flow.done()


TASKS: dict[str, Callable[[AIOKafkaConsumer], "asyncio.Task[None]"]] = {
    "fetching": lambda consumer: consumer._fetcher._fetch_task,
    "membership": lambda consumer: consumer._coordinator._coordination_task,
}


@pytest.mark.parametrize("task", TASKS)
async def test_a_replica_ends_when_a_task_of_its_client_has_ended(
    stack: Servers,
    database: Database,
    topics: Topics,
    consumer: AIOKafkaConsumer,
    flow: "asyncio.Task[None]",
    task: str,
) -> None:
    await until_written(stack, database, topics.meter)
    TASKS[task](consumer).cancel()
    await asyncio.wait({flow}, timeout=30)
    assert flow.done(), "it would have stayed in the group, and read nothing for ever"
    error = flow.exception()
    assert isinstance(error, ExceptionGroup)
    assert error.subgroup(ClientStoppedError)
    assert "restart this consumer" in str(error.exceptions[0])
