"""Kafka dies, and its copy of the offsets is tampered with."""

import asyncio
import random
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.errors import KafkaError
from aiokafka.protocol.admin import DeleteGroupsRequest

from deploy.stack.topics import create_topics
from tests.faults.arena import Arena
from tests.faults.oracle import read_log
from tests.support.command import partition_statuses
from tests.support.ledger import committed_in_kafka
from tests.support.waiting import until


async def kill_broker(arena: Arena, _: int) -> None:
    """SIGKILL of the broker; it comes back after a moment."""
    broker: Any = arena.stack.kafka
    assert broker is not None, "this scenario kills the broker, so it must be one of our own"
    await asyncio.sleep(random.uniform(0.2, 1))
    await asyncio.to_thread(broker.kill)
    await asyncio.sleep(random.uniform(0, 2))
    await asyncio.to_thread(broker.start)
    await asyncio.sleep(1)
    await arena.caught_up()


async def kill_leader(arena: Arena, number: int) -> None:
    """Of three brokers, the one that leads a partition is killed; it comes back, and catches up, before the next."""
    partition = number % arena.topics.partitions
    described = await _describe(arena, arena.topics.meter)
    leader = arena.brokers[described[partition]["leader"]]
    await asyncio.sleep(random.uniform(0.2, 1))
    await asyncio.to_thread(leader.kill)
    await asyncio.sleep(random.uniform(3, 5))
    await arena.caught_up()
    await asyncio.to_thread(leader.start)

    async def all_in_sync() -> bool:
        topics = [await _describe(arena, topic) for topic in (arena.topics.meter, arena.topics.vehicle)]
        return all(len(each["isr"]) == len(arena.brokers) for topic in topics for each in topic.values())

    await until(all_in_sync, "all brokers have everything again", every=0.5)
    await arena.caught_up()


async def _describe(arena: Arena, topic: str) -> dict[int, dict[str, Any]]:
    admin = AIOKafkaAdminClient(bootstrap_servers=arena.stack.kafka_bootstrap_servers)
    await admin.start()
    try:
        (described,) = await admin.describe_topics([topic])
    finally:
        await admin.close()
    return {each["partition"]: each for each in described["partitions"]}


async def tamper_with_offsets(arena: Arena, number: int) -> None:
    """The group's offsets in Kafka are set back to 0, set ahead to the end of the log, or deleted, between two replicas."""
    await arena.stop_all()
    await arena.load.send(3)
    await arena.load.settle()
    match number % 3:
        case 0:
            await set_offsets_in_kafka(arena, None)
        case 1:
            await set_offsets_in_kafka(arena, 0)
        case 2:
            await delete_offsets_in_kafka(arena)
    arena.start()
    await arena.load.send(1)
    await arena.caught_up()


async def delete_offsets_in_kafka(arena: Arena) -> None:
    """The whole group is deleted, as an administrator might by mistake."""
    group = arena.group.environment["KAFKA_GROUP_ID"]
    admin = AIOKafkaAdminClient(bootstrap_servers=arena.stack.kafka_bootstrap_servers)
    await admin.start()
    try:
        answer = await admin._send_request(DeleteGroupsRequest([group]), await admin.find_coordinator(group))
    finally:
        await admin.close()
    assert answer.results == [(group, 0)]
    assert await committed_in_kafka(arena.stack, group) == {}


async def retention_passes(arena: Arena, number: int) -> None:
    """Kafka drops records that nobody has read: the partition halts, and goes on when an operator accepts the gap."""
    if not arena.live:
        arena.start()
    await arena.load.send(5)
    await arena.load.settle()
    await arena.caught_up()
    await arena.stop_all()
    partition = TopicPartition(arena.topics.meter, number % arena.topics.partitions)
    stored = arena.load.ends[partition]
    archived = [
        each for each in await read_log(arena.stack.kafka_bootstrap_servers, arena.topics) if _of(each) == partition
    ]
    await arena.load.send(5)
    await arena.load.settle()
    beginning = stored + 10
    admin = AIOKafkaAdminClient(bootstrap_servers=arena.stack.kafka_bootstrap_servers)
    await admin.start()
    await admin.delete_records({partition: RecordsToDelete(before_offset=beginning)})
    await admin.close()
    arena.known.archived += archived
    arena.known.gone |= {(*partition, offset) for offset in range(stored, beginning)}
    (replica,) = arena.start()
    assert f"records {stored} to {beginning - 1} are gone" in (await replica.until_logged("partition_halted"))["gap"]
    assert await arena.database.value(
        "SELECT next_offset = $3 FROM kafka_offsets WHERE topic = $1 AND partition = $2", *partition, stored
    )
    await arena.operator.succeed("offsets", "accept-gap", partition.topic, str(partition.partition), "--yes")
    await arena.caught_up()


def _of(record: Any) -> TopicPartition:
    return TopicPartition(record.topic, record.partition)


async def made_anew(arena: Arena, _: int) -> None:
    """A topic is deleted and made again: its partitions halt, and start over when an operator accepts the gaps."""
    if not arena.live:
        arena.start()
    await arena.load.send(20)
    await arena.load.settle()
    await arena.caught_up()
    await arena.stop_all()
    servers, topic = arena.stack.kafka_bootstrap_servers, arena.topics.meter
    arena.known.archived += [each for each in await read_log(servers, arena.topics) if each.topic == topic]
    await arena.load.stop()
    await make_anew(servers, topic, arena.topics.partitions)
    await arena.load.start()
    for partition in range(arena.topics.partitions):
        arena.load.ends.pop(TopicPartition(topic, partition), None)
    await arena.load.send(1)
    await arena.load.settle()
    (replica,) = arena.start()
    assert "made anew" in (await replica.until_logged("partition_halted"))["gap"]
    for standing in await partition_statuses(arena.operator):
        if standing["gap"]:
            await arena.operator.succeed("offsets", "accept-gap", topic, str(standing["partition"]), "--yes")
    await replica.until_ready()
    await arena.caught_up()


async def make_anew(servers: str, topic: str, partitions: int) -> None:
    """Delete a topic and make it again, once its deletion is through."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    await admin.delete_topics([topic])
    await admin.close()

    async def made() -> bool:
        try:
            await create_topics(servers, [topic], partitions=partitions)
        except KafkaError:  # it is still being deleted
            return False
        return await empty(servers, topic, partitions)

    await until(made, f"{topic} is made anew", every=0.2)


async def empty(servers: str, topic: str, partitions: int) -> bool:
    """Whether the topic is there, with nothing in it."""
    async with AIOKafkaConsumer(bootstrap_servers=servers) as consumer:
        if topic not in await consumer.topics():
            return False
        ends = await consumer.end_offsets([TopicPartition(topic, each) for each in range(partitions)])
    return set(ends.values()) == {0}


async def set_offsets_in_kafka(arena: Arena, offset: int | None) -> None:
    """To `offset`, or to the end of each partition."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=arena.stack.kafka_bootstrap_servers,
        group_id=arena.group.environment["KAFKA_GROUP_ID"],
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        names = (arena.topics.meter, arena.topics.vehicle)
        partitions = [TopicPartition(topic, each) for topic in names for each in range(arena.topics.partitions)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        await consumer.commit({each: ends[each] if offset is None else offset for each in partitions})
    finally:
        await consumer.stop()
