"""Kafka dies, and its copy of the offsets is tampered with."""

import asyncio
import random
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from tests.faults.arena import Arena


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


async def tamper_with_offsets(arena: Arena, number: int) -> None:
    """The group's offsets in Kafka are set back to 0, or ahead to the end of the log, between two replicas."""
    for replica in list(arena.live):
        await arena.stop(replica)
    await arena.load.send(3)
    await arena.load.settle()
    await set_offsets_in_kafka(arena, None if number % 2 else 0)
    arena.start()
    await arena.load.send(1)
    await arena.caught_up()


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
