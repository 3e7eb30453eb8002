"""A partition without a leader: the other partitions are read, and the one is named."""

import asyncio
from collections.abc import Iterator

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from deploy.stack.kafka import Kafka
from deploy.stack.servers import Servers
from tests.faults.kafka_cluster import three_brokers
from tests.support.command import Command, consumer_command, partition_statuses
from tests.support.database import Database
from tests.support.ledger import Topics, until_consumed
from tests.support.records import meter, minute
from tests.support.services import ConsumerGroup
from tests.support.waiting import until

pytestmark = pytest.mark.anyio
Cluster = tuple[Servers, dict[int, Kafka]]
PARTITIONS = 4
LEADERLESS = 2  # this partition is on the broker of this number, and the others are on the other brokers


@pytest.fixture(scope="module")
def cluster(stack: Servers) -> Iterator[Cluster]:
    with three_brokers(stack) as running:
        yield running


async def create_topics(servers: str, topics: Topics) -> None:
    """Topics without replication: a partition has no leader while its broker is down."""
    placed = {number: [LEADERLESS if number == LEADERLESS else 1 + 2 * (number % 2)] for number in range(PARTITIONS)}
    elsewhere = {number: [1 + 2 * (number % 2)] for number in range(PARTITIONS)}
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        answer = await admin.create_topics(
            [
                NewTopic(topics.meter, -1, -1, replica_assignments=placed, topic_configs={"min.insync.replicas": "1"}),
                NewTopic(
                    topics.vehicle, -1, -1, replica_assignments=elsewhere, topic_configs={"min.insync.replicas": "1"}
                ),
            ]
        )
    finally:
        await admin.close()
    assert [error[:2] for error in answer.topic_errors] == [(topics.meter, 0), (topics.vehicle, 0)]


async def produce(servers: str, topic: str, partitions: list[int], *, at: int) -> None:
    async with AIOKafkaProducer(bootstrap_servers=servers, acks="all") as producer:
        for partition in partitions:
            await producer.send_and_wait(topic, meter(f"METER-{partition}", minute(at)), partition=partition)


async def until_shown_as_leaderless(operator: Command, topic: str) -> None:
    """Waits until `offsets show` lists the one partition without a leader and the others with their state."""
    expected = dict.fromkeys(range(PARTITIONS), "not held by any consumer")

    async def shown() -> bool:
        if (await operator.run("offsets", "show"))[0] != 0:  # the cluster has not noticed yet that the broker is down
            return False
        statuses = await partition_statuses(operator)
        states = {each["partition"]: each["state"] for each in statuses if each["topic"] == topic}
        return states.pop(LEADERLESS).startswith("no leader") and states.items() <= expected.items()

    await until(shown, "`offsets show` names the partition without a leader")


async def test_partitions_with_a_leader_are_read_and_the_one_without_is_named(
    cluster: Cluster, database: Database, new_topics: Topics, group: ConsumerGroup
) -> None:
    stack, brokers = cluster
    servers, topics = stack.kafka_bootstrap_servers, new_topics
    await create_topics(servers, topics)
    group.environment["KAFKA_BOOTSTRAP_SERVERS"] = servers
    first = group.start()
    await first.until_ready()
    await produce(servers, topics.meter, list(range(PARTITIONS)), at=0)
    await until_consumed(database, topics.meter, PARTITIONS)
    assert group.stop(first) == 0

    brokers[LEADERLESS].kill()
    others = [number for number in range(PARTITIONS) if number != LEADERLESS]
    await produce(servers, topics.meter, others, at=1)
    await until_shown_as_leaderless(consumer_command(group.environment, database), topics.meter)
    consumer = group.start()
    await until_consumed(database, topics.meter, PARTITIONS + len(others))

    async def named() -> bool:
        blocked = await consumer.blocked_by()
        return f"{topics.meter}-{LEADERLESS}: no leader" in blocked.get("partition_unavailable", "")

    await until(named, "readiness names the partition without a leader")
    assert set(await consumer.blocked_by()) == {"partition_unavailable"}, "nothing else is blamed"
    labels = {"topic": topics.meter, "partition": str(LEADERLESS)}
    assert await consumer.metric("energy_consumer_partition_unavailable", **labels) == 1
    assert await consumer.metric("energy_consumer_partition_unavailable") == 1

    await asyncio.to_thread(brokers[LEADERLESS].start)
    await consumer.until_ready()
    await produce(servers, topics.meter, [LEADERLESS], at=1)
    await until_consumed(database, topics.meter, 2 * PARTITIONS)


async def test_a_running_consumer_reads_the_other_partitions_when_one_loses_its_leader(
    cluster: Cluster, database: Database, new_topics: Topics, group: ConsumerGroup
) -> None:
    stack, brokers = cluster
    servers, topics = stack.kafka_bootstrap_servers, new_topics
    await create_topics(servers, topics)
    group.environment["KAFKA_BOOTSTRAP_SERVERS"] = servers
    consumer = group.start()
    await consumer.until_ready()
    brokers[LEADERLESS].kill()
    others = [number for number in range(PARTITIONS) if number != LEADERLESS]
    await produce(servers, topics.meter, others, at=0)
    await until_consumed(database, topics.meter, len(others))
    await consumer.until_logged("partitions_unavailable")
    await asyncio.to_thread(brokers[LEADERLESS].start)
    await consumer.until_ready()
    await produce(servers, topics.meter, [LEADERLESS], at=0)
    await until_consumed(database, topics.meter, PARTITIONS)
