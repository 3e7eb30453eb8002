"""A rebalance while readings flow ends, however long its members wait for each other."""

import asyncio
from contextlib import suppress
from itertools import count

import pytest
from aiokafka import AIOKafkaProducer

from deploy.stack.servers import Servers
from tests.support.database import Database
from tests.support.ledger import Topics
from tests.support.records import meter, minute
from tests.support.services import ConsumerGroup
from tests.support.waiting import until

pytestmark = pytest.mark.anyio
PAUSE_SECONDS = 0.05
# The members wait for one that was killed until its session ends, and notice a rebalance by heartbeats that are seconds apart.
LONG_SESSIONS = {"KAFKA_SESSION_TIMEOUT_MS": "10000"}


async def test_a_group_that_replaces_a_killed_member_while_readings_flow_comes_to_rest(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup
) -> None:
    consumers = [group.start(**LONG_SESSIONS) for _ in range(3)]
    for each in consumers:
        await each.until_ready()
    ends: dict[int, int] = dict.fromkeys(range(topics.partitions), 0)

    async def behind() -> int:
        """The most records by which a partition is behind what was sent."""
        rows = await database.fetch("SELECT partition, next_offset FROM kafka_offsets WHERE topic = $1", topics.meter)
        stored = {row["partition"]: row["next_offset"] for row in rows}
        return max(end - int(stored.get(partition, 0)) for partition, end in ends.items())

    async def send() -> None:
        async with AIOKafkaProducer(bootstrap_servers=stack.kafka_bootstrap_servers, acks="all") as producer:
            for number in count():
                sent = await producer.send_and_wait(
                    topics.meter, meter(at=minute(number / 60)), partition=number % topics.partitions
                )
                ends[sent.partition] = sent.offset + 1
                await asyncio.sleep(PAUSE_SECONDS)

    sending = asyncio.create_task(send())
    group.kill(consumers.pop())
    consumers.append(group.start(**LONG_SESSIONS))
    await consumers[-1].until_logged("partitions_assigned")

    async def is_at_rest() -> bool:
        return await behind() < 2 / PAUSE_SECONDS / topics.partitions  # two seconds

    await until(is_at_rest, "every partition is read to its end", timeout=30)
    assigned = [len(each.events("partitions_assigned")) for each in consumers]
    assert max(assigned) <= 3, f"the members were given partitions {assigned} times"
    sending.cancel()
    with suppress(asyncio.CancelledError):
        await sending
