"""Attacks on Kafka: brokers are killed, the group's offsets changed, records deleted."""

import asyncio
import random
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.protocol.admin import DeleteGroupsRequest

from tests.faults.testbed import Testbed
from tests.support.ledger import committed_in_kafka
from tests.support.topics import describe_topic, kafka_admin
from tests.support.waiting import until


async def kill_broker(testbed: Testbed, _: int) -> None:
    """SIGKILL the only broker and start it again after a moment."""
    broker: Any = testbed.stack.kafka
    assert broker is not None, "this scenario kills the broker, so it must be one of our own"
    await asyncio.sleep(random.uniform(0.2, 1))
    await asyncio.to_thread(broker.kill)
    await asyncio.sleep(random.uniform(0, 2))
    await asyncio.to_thread(broker.start)
    await asyncio.sleep(1)
    await testbed.until_caught_up()


async def kill_leader(testbed: Testbed, number: int) -> None:
    """SIGKILL the leader of a partition, one of three brokers; it is started again and must be in sync before the next round."""
    partition = number % testbed.topics.partitions
    servers = testbed.stack.kafka_bootstrap_servers
    partitions = await describe_topic(servers, testbed.topics.meter)
    leader = testbed.brokers[partitions[partition]["leader"]]
    await asyncio.sleep(random.uniform(0.2, 1))
    await asyncio.to_thread(leader.kill)
    await asyncio.sleep(random.uniform(3, 5))
    await testbed.until_caught_up()
    await asyncio.to_thread(leader.start)

    async def all_in_sync() -> bool:
        topics = [await describe_topic(servers, topic) for topic in (testbed.topics.meter, testbed.topics.vehicle)]
        return all(len(each["isr"]) == len(testbed.brokers) for topic in topics for each in topic.values())

    await until(all_in_sync, "all brokers are in sync", every=0.5)
    await testbed.until_caught_up()


async def change_group_offsets(testbed: Testbed, number: int) -> None:
    """While no consumer runs, set the group's offsets in Kafka to the end of the log, set them to 0, or delete the group."""
    await testbed.stop_all()
    await testbed.load.send(3)
    await testbed.load.stop_sending()
    match number % 3:
        case 0:
            await set_offsets_in_kafka(testbed, None)
        case 1:
            await set_offsets_in_kafka(testbed, 0)
        case 2:
            await _delete_group(testbed)
    testbed.start()
    await testbed.load.send(1)
    await testbed.until_caught_up()


async def set_offsets_in_kafka(testbed: Testbed, offset: int | None) -> None:
    """Commit `offset` for every partition in the name of the group; None commits the end of each partition."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=testbed.stack.kafka_bootstrap_servers,
        group_id=testbed.group.environment["KAFKA_GROUP_ID"],
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        names = (testbed.topics.meter, testbed.topics.vehicle)
        partitions = [TopicPartition(topic, each) for topic in names for each in range(testbed.topics.partitions)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        await consumer.commit({each: ends[each] if offset is None else offset for each in partitions})
    finally:
        await consumer.stop()


async def delete_unread_records(testbed: Testbed, number: int) -> None:
    """Records are deleted before they are read, as by retention: the partition halts until an operator accepts the gap."""
    if not testbed.running:
        testbed.start()
    await testbed.load.send(5)
    await testbed.load.stop_sending()
    await testbed.until_caught_up()
    await testbed.stop_all()
    partition = TopicPartition(testbed.topics.meter, number % testbed.topics.partitions)
    stored = testbed.load.end_offsets[partition]
    beginning = stored + 10
    log = await testbed.read_log()
    testbed.changes.consumed += [each for each in log if (each.topic, each.partition) == partition]
    testbed.changes.unread |= {(*partition, offset) for offset in range(stored, beginning)}
    await testbed.load.send(5)
    await testbed.load.stop_sending()
    await delete_records(testbed, partition, beginning)
    (consumer,) = testbed.start()
    assert (
        f"records {stored} to {beginning - 1} were deleted" in (await consumer.until_logged("partition_halted"))["gap"]
    )
    assert await testbed.database.value(
        "SELECT next_offset = $3 FROM kafka_offsets WHERE topic = $1 AND partition = $2", *partition, stored
    )
    await testbed.operator.succeed("offsets", "accept-gap", partition.topic, str(partition.partition), "--yes")
    await testbed.until_caught_up()


async def _delete_group(testbed: Testbed) -> None:
    group = testbed.group.environment["KAFKA_GROUP_ID"]
    async with kafka_admin(testbed.stack.kafka_bootstrap_servers) as admin:
        answer = await admin._send_request(DeleteGroupsRequest([group]), await admin.find_coordinator(group))
    assert answer.results == [(group, 0)]
    assert await committed_in_kafka(testbed.stack, group) == {}


async def delete_records(testbed: Testbed, partition: TopicPartition, before_offset: int) -> None:
    """Delete the first records of a partition, as retention does; -1 deletes all."""
    async with kafka_admin(testbed.stack.kafka_bootstrap_servers) as admin:
        await admin.delete_records({partition: RecordsToDelete(before_offset=before_offset)})
