"""Attacks on topics: partitions are added, a partition has no leader, a topic is deleted and created again."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError

from tests.faults.messages import today
from tests.faults.testbed import Testbed
from tests.support.records import meter
from tests.support.topics import kafka_admin
from tests.support.waiting import until

NEW_PARTITIONS_TIMEOUT_SECONDS: Final = 90
EVERY_PARTITION_IS_HALTED: Final = "SELECT bool_and(halt_reason IS NOT NULL) FROM kafka_offsets WHERE topic = $1"
DYNAMIC: Final = ("", "")  # an empty instance id is the same as none
STATIC: Final = ("consumer-0", "consumer-1")


def add_partitions(instance_ids: tuple[str, ...]) -> Callable[[Testbed, int], Awaitable[None]]:
    """Partitions are added after each consumer was replaced, which elects no leader of the group where members are static."""

    async def attack(testbed: Testbed, _: int) -> None:
        for instance_id in instance_ids if testbed.running else 2 * instance_ids:
            if len(testbed.running) == len(instance_ids):
                await testbed.stop(testbed.running[0])
            (consumer,) = testbed.start(KAFKA_GROUP_INSTANCE_ID=instance_id)
            await consumer.until_logged("partitions_assigned")
        await testbed.load.send(1)
        await testbed.until_caught_up()
        await _add_partitions(testbed, 2)
        for partition in range(testbed.topics.partitions):
            key = f"METER-{partition}"
            await testbed.load.send_value(testbed.topics.meter, meter(key), key, partition)
        await testbed.until_caught_up(timeout=NEW_PARTITIONS_TIMEOUT_SECONDS)

    return attack


async def keep_single_copies(testbed: Testbed) -> None:
    """Preparation: each partition of the meter topic is on one broker, and the last broker has the last partition alone."""
    topic, (*others, last) = testbed.topics.meter, sorted(testbed.brokers)
    places = {each: [others[each % len(others)]] for each in range(testbed.topics.partitions - 1)}
    places[testbed.topics.partitions - 1] = [last]
    await _recreate(testbed, NewTopic(topic, -1, -1, places, {"min.insync.replicas": "1"}))
    testbed.load.journal[:] = [each for each in testbed.load.journal if each.partition.topic != topic]
    await testbed.load.send_messages(today(testbed.today, datetime.now(UTC)))
    testbed.start()
    await testbed.until_caught_up()


async def kill_the_only_copy(testbed: Testbed, number: int) -> None:
    """SIGKILL the broker with the only copy of a partition; consumers that start meanwhile read all the other partitions."""
    broker = testbed.brokers[max(testbed.brokers)]
    topic, without_leader = testbed.topics.meter, testbed.topics.partitions - 1
    await asyncio.to_thread(broker.kill)
    await testbed.stop_all()
    testbed.start(2)
    for each in range(300):
        value = meter(f"METER-{number}-{each}")
        await testbed.load.send_value(topic, value, "any", each % without_leader)
    await testbed.until_caught_up()
    await asyncio.to_thread(broker.start)
    await testbed.load.send_value(topic, meter(f"METER-LONE-{number}"), "any", without_leader)
    await testbed.until_caught_up()


async def recreate_topic(testbed: Testbed, number: int) -> None:
    """A topic is recreated and outgrows the stored offsets: its partitions are halted until an operator accepts the gaps.

    In odd rounds no consumer runs until the topic has outgrown the offsets; in even rounds one runs all the time.
    """
    if not testbed.running:
        testbed.start()
    await testbed.load.send(2)
    await testbed.until_caught_up()
    topic = testbed.topics.meter
    testbed.changes.consumed += [each for each in await testbed.read_log() if each.topic == topic]
    stored = {each: offset for each, offset in (await testbed.stored_offsets()).items() if each[0] == topic}
    if number % 2:
        await testbed.stop_all()
    await _recreate(testbed, NewTopic(topic, testbed.topics.partitions, 1))
    await testbed.load.send(1)
    await testbed.load.until_acknowledged()
    if testbed.running:
        await _until_halted(testbed)
    while any(testbed.load.end_offsets[TopicPartition(*each)] <= offset for each, offset in stored.items()):
        await testbed.load.send(20)
        await testbed.load.until_acknowledged()
    if not testbed.running:
        testbed.start()
    await _until_halted(testbed)
    await _until_consumed(testbed, testbed.topics.vehicle)
    assert stored.items() <= (await testbed.stored_offsets()).items(), (
        "halted although the log has outgrown the offsets"
    )
    numbers = map(str, range(testbed.topics.partitions))
    await asyncio.gather(*(testbed.operator.succeed("offsets", "accept-gap", topic, each, "--yes") for each in numbers))
    await testbed.until_caught_up()


async def configure(client: AIOKafkaAdminClient, topic: str, settings: dict[str, str]) -> None:
    """Replace the settings of a topic."""
    for answer in await client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, settings)]):
        assert not any(code for code, *_ in answer.resources), answer


async def _recreate(testbed: Testbed, topic: NewTopic) -> None:
    """Delete a topic and create it again, empty; the load gets a new producer."""
    await testbed.load.disconnect()
    async with kafka_admin(testbed.stack.kafka_bootstrap_servers) as client:
        await client.delete_topics([topic.name])

        async def is_created() -> bool:
            try:
                answer = await client.create_topics([topic])
                codes = {code for _, code, *_ in answer.topic_errors}
                return codes <= {0, TopicAlreadyExistsError.errno} and await _is_empty(testbed, topic.name)
            except (KafkaError, TimeoutError):  # the deletion is not complete
                return False

        await until(is_created, f"{topic.name} is created again", every=0.2)
    for partition in range(testbed.topics.partitions):
        testbed.load.end_offsets.pop(TopicPartition(topic.name, partition), None)
    await testbed.load.connect()


async def _add_partitions(testbed: Testbed, number: int) -> None:
    """Add partitions to both topics; the load gets a new producer, which knows them."""
    partitions = testbed.topics.partitions + number
    async with kafka_admin(testbed.stack.kafka_bootstrap_servers) as client:
        names = (testbed.topics.meter, testbed.topics.vehicle)
        await client.create_partitions({each: NewPartitions(partitions) for each in names})
    testbed.topics = replace(testbed.topics, partitions=partitions)
    await testbed.load.disconnect()
    await testbed.load.connect()


async def _is_empty(testbed: Testbed, topic: str) -> bool:
    """Whether the topic exists and no partition holds a record."""
    async with AIOKafkaConsumer(bootstrap_servers=testbed.stack.kafka_bootstrap_servers) as consumer:
        if topic not in await consumer.topics():
            return False
        ends = await consumer.end_offsets([TopicPartition(topic, each) for each in range(testbed.topics.partitions)])
    return set(ends.values()) == {0}


async def _until_halted(testbed: Testbed) -> None:
    """Wait until every partition of the meter topic is halted."""

    topic = testbed.topics.meter
    await until(lambda: testbed.database.value(EVERY_PARTITION_IS_HALTED, topic), "the recreated topic is halted")


async def _until_consumed(testbed: Testbed, topic: str) -> None:
    ends = {tuple(each): end for each, end in testbed.load.end_offsets.items() if each.topic == topic}

    async def is_consumed() -> bool:
        stored = await testbed.stored_offsets()
        return all(stored.get((topic, partition), 0) >= end for (_, partition), end in ends.items())

    await until(is_consumed, f"{topic} is consumed")
