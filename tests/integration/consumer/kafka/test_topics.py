"""Topics that are deleted, created again, or given more partitions while consumers run."""

from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from deploy.stack.processes import Processes
from deploy.stack.servers import Servers
from deploy.stack.topics import create_topics
from tests.support.command import consumer_command, partition_statuses
from tests.support.database import Database
from tests.support.ledger import Topics, until_consumed
from tests.support.records import meter, minute, vehicle
from tests.support.services import ConsumerGroup, ConsumerProcess, ingestion_service
from tests.support.topics import add_partitions, delete_topic, list_topics
from tests.support.waiting import until

pytestmark = pytest.mark.anyio
READING = {"meterId": "METER-001", "kwhConsumedAc": 1.5, "voltage": 240, "timestamp": minute(0).isoformat()}


async def produce(stack: Servers, topic: str, value: bytes, *, partition: int = 0) -> None:
    async with AIOKafkaProducer(bootstrap_servers=stack.kafka_bootstrap_servers, acks="all") as producer:
        await producer.send_and_wait(topic, value, partition=partition)


async def until_blocked_by_topics(consumer: ConsumerProcess, *, blocked: bool) -> None:
    async def as_expected() -> bool:
        return ("topics" in await consumer.blocked_by()) == blocked

    await until(as_expected, f"the consumer {'waits' if blocked else 'no longer waits'} for a topic")


async def test_a_deleted_topic_stays_deleted_and_is_read_again_once_it_is_created(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup
) -> None:
    """The broker creates topics on demand, with eight partitions."""
    consumer = group.start()
    await consumer.until_ready()
    await produce(stack, topics.meter, meter(at=minute(0)))
    await until_consumed(database, topics.meter, 1)

    await delete_topic(stack.kafka_bootstrap_servers, topics.meter)
    await until_blocked_by_topics(consumer, blocked=True)
    assert topics.meter in (await consumer.blocked_by())["topics"]
    assert await consumer.metric("energy_ingest_paused", reason="topics") == 1
    await produce(stack, topics.vehicle, vehicle(at=minute(0)))
    await until_consumed(database, topics.vehicle, 1)
    assert topics.meter not in await list_topics(stack.kafka_bootstrap_servers)

    await create_topics(stack.kafka_bootstrap_servers, [topics.meter], partitions=3)
    await until_blocked_by_topics(consumer, blocked=False)
    assert await consumer.metric("energy_ingest_paused", reason="topics") == 0

    async def assigned() -> bool:
        return f"{topics.meter}-2" in consumer.events("partitions_assigned")[-1]["partitions"]

    await until(assigned, "the partitions of the new topic are assigned")
    assert f"{topics.meter}-3" not in consumer.events("partitions_assigned")[-1]["partitions"]


async def test_the_gateway_does_not_create_a_topic_that_was_deleted(
    stack: Servers, topics: Topics, processes: Processes, environment: dict[str, str], tmp_path: Path
) -> None:
    with ingestion_service(processes, environment | {"INGESTION_ENABLED": "true"}, tmp_path) as client:

        async def accepted() -> bool:
            return client.post("/v1/ingestion/meter", json=READING).status_code == 201

        async def refused() -> bool:
            return "do not exist" in client.get("/readyz").text

        await until(accepted, "the gateway accepts readings")
        await delete_topic(stack.kafka_bootstrap_servers, topics.meter)
        client.post("/v1/ingestion/meter", json=READING)
        await until(refused, "the gateway reports the missing topic")
        assert client.post("/v1/ingestion/meter", json=READING).status_code == 503
    assert topics.meter not in await list_topics(stack.kafka_bootstrap_servers)


async def until_partition_is_read(stack: Servers, database: Database, topic: str, partition: int) -> None:
    await produce(stack, topic, meter(f"METER-{partition}", minute(1)), partition=partition)

    async def is_read() -> bool:
        query = "SELECT sum(records_consumed) > 0 FROM kafka_offsets WHERE topic = $1 AND partition = $2"
        return bool(await database.value(query, topic, partition))

    await until(is_read, f"{topic}-{partition} is read")


@pytest.mark.parametrize("named", [True, False], ids=["static members", "dynamic members"])
async def test_partitions_added_after_a_rolling_replacement_are_read(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup, *, named: bool
) -> None:
    settings = [{"KAFKA_SESSION_TIMEOUT_MS": "30000"} for _ in range(2)]
    for number, each in enumerate(settings):
        if named:
            each["KAFKA_GROUP_INSTANCE_ID"] = f"replica-{number}"
    running = [group.start(**each) for each in settings]
    for consumer in running:
        await consumer.until_ready()
    for number, each in enumerate(settings):
        assert group.stop(running[number]) == 0
        running[number] = group.start(**each)
        await running[number].until_ready()

    await add_partitions(stack.kafka_bootstrap_servers, topics.meter, topics.partitions + 2)
    for partition in range(topics.partitions, topics.partitions + 2):
        await until_partition_is_read(stack, database, topics.meter, partition)
    for consumer in running:

        async def everything_is_assigned(consumer: ConsumerProcess = consumer) -> bool:
            return await consumer.metric("energy_consumer_unassigned_partitions") == 0

        await until(everything_is_assigned, "no partition is reported as unassigned")


async def test_partitions_added_while_the_only_static_member_was_away_are_read(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup
) -> None:
    settings = {"KAFKA_GROUP_INSTANCE_ID": "replica-0", "KAFKA_SESSION_TIMEOUT_MS": "60000"}
    consumer = group.start(**settings)
    await consumer.until_ready()
    assert group.stop(consumer) == 0
    await add_partitions(stack.kafka_bootstrap_servers, topics.meter, topics.partitions + 1)
    shown = await partition_statuses(consumer_command(group.environment, database))
    never_read = [(each["topic"], each["partition"], each["stored"]) for each in shown if each["state"] == "never read"]
    assert never_read == [(topics.meter, topics.partitions, None)]
    consumer = group.start(**settings)
    await consumer.until_ready()
    unassigned = await consumer.until_logged("partitions_unassigned")
    assert unassigned["partitions"] == [f"{topics.meter}-{topics.partitions}"]
    await until_partition_is_read(stack, database, topics.meter, topics.partitions)


async def test_a_topic_that_a_returning_static_member_subscribes_to_is_read(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup
) -> None:
    """As an upgrade does that sets KAFKA_REGISTER_TOPIC."""
    settings = {"KAFKA_GROUP_INSTANCE_ID": "replica-0", "KAFKA_SESSION_TIMEOUT_MS": "60000"}
    consumer = group.start(**settings)
    await consumer.until_ready()
    assert group.stop(consumer) == 0
    await create_topics(stack.kafka_bootstrap_servers, [topics.register], partitions=1)
    group.start(KAFKA_REGISTER_TOPIC=topics.register, **settings)
    await produce(stack, topics.register, b"not a reading")
    await until_consumed(database, topics.register, 1)
