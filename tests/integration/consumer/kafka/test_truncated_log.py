"""A truncated log: the partition halts, also when the log has grown past the stored offset again."""

import asyncio
import os

import pytest

from tests.faults.kafka_cluster import Cluster
from tests.support.command import consumer_command
from tests.support.database import Database
from tests.support.ledger import Entry, Topics, ledger, until_consumed
from tests.support.records import meter, minute
from tests.support.services import ConsumerGroup
from tests.support.topics import describe_topic, place_topics, produce
from tests.support.waiting import until

pytestmark = pytest.mark.anyio
LEADER, FOLLOWER, OTHER = 2, 3, 1
BOTH, LOST, NEW = 10, 10, 30  # records on both brokers, on the leader alone, and after the election


async def create_topics(servers: str, topics: Topics) -> None:
    """One partition on two brokers, of which the second may become the leader without being in sync."""
    placed = {topics.meter: {0: [LEADER, FOLLOWER]}, topics.vehicle: {0: [OTHER]}}
    await place_topics(servers, placed, {"min.insync.replicas": "1", "unclean.leader.election.enable": "true"})


def readings(first: int, end: int) -> list[bytes]:
    return [meter("METER-1", minute(each)) for each in range(first, end)]


async def until_led_by(servers: str, topic: str, leader: int) -> None:
    async def led() -> bool:
        return bool((await describe_topic(servers, topic))[0]["leader"] == leader)

    await until(led, f"{leader} leads the partition", timeout=120, every=0.5)


@pytest.mark.parametrize("runs", [True, False], ids=["a running consumer", "a consumer that starts afterwards"])
async def test_a_truncated_log_halts(
    cluster: Cluster, database: Database, new_topics: Topics, group: ConsumerGroup, *, runs: bool
) -> None:
    servers, topics, brokers = cluster.stack.kafka_bootstrap_servers, new_topics, cluster.brokers
    await create_topics(servers, topics)
    group.environment["KAFKA_BOOTSTRAP_SERVERS"] = servers
    consumer = group.start()
    await produce(servers, topics.meter, readings(0, BOTH))
    brokers[FOLLOWER].kill()
    await produce(servers, topics.meter, readings(BOTH, BOTH + LOST))  # acknowledged once the follower is out of sync
    await until_consumed(database, topics.meter, BOTH + LOST)
    if not runs:
        assert group.stop(consumer) == 0

    brokers[LEADER].kill()
    await asyncio.to_thread(brokers[FOLLOWER].start)
    await until_led_by(servers, topics.meter, FOLLOWER)
    await produce(servers, topics.meter, readings(100, 100 + NEW))
    if not runs:
        consumer = group.start()
    gap = (await consumer.until_logged("partition_halted"))["gap"]
    assert runs or f"offset {BOTH + LOST - 1} holds another record" in gap
    assert await database.value("SELECT halt_reason FROM kafka_offsets WHERE topic = $1", topics.meter) == gap

    await consumer_command(group.environment, database).succeed("offsets", "accept-gap", topics.meter, "0", "--yes")
    await until_consumed(database, topics.meter, 2 * BOTH + LOST + NEW)
    assert (await ledger(database, topics))[topics.meter] == Entry(2 * BOTH + LOST + NEW, BOTH + LOST + NEW, BOTH, 0)


async def test_a_log_that_comes_back_without_its_end_halts_under_the_same_leader(
    cluster: Cluster, database: Database, new_topics: Topics, group: ConsumerGroup
) -> None:
    """A broker loses power, and what was not on disk. The consumer hears nothing until new records have filled the place."""
    servers, topics, leader = cluster.stack.kafka_bootstrap_servers, new_topics, cluster.brokers[LEADER]
    placed = {topics.meter: {0: [LEADER]}, topics.vehicle: {0: [OTHER]}}
    await place_topics(servers, placed, {"min.insync.replicas": "1"})
    group.environment["KAFKA_BOOTSTRAP_SERVERS"] = servers
    consumer = group.start(KAFKA_SESSION_TIMEOUT_MS="120000")
    await produce(servers, topics.meter, readings(0, BOTH))
    segment = leader.data / f"{topics.meter}-0" / "00000000000000000000.log"
    kept = segment.stat().st_size
    await produce(servers, topics.meter, readings(BOTH, BOTH + LOST))
    await until_consumed(database, topics.meter, BOTH + LOST)

    consumer.freeze()
    leader.kill()
    os.truncate(segment, kept)
    await asyncio.to_thread(leader.start)
    await until_led_by(servers, topics.meter, LEADER)
    await produce(servers, topics.meter, readings(100, 100 + NEW))
    consumer.thaw()
    gap = (await consumer.until_logged("partition_halted"))["gap"]
    assert f"offset {BOTH + LOST - 1} holds another record" in gap
    assert not consumer.events("partitions_revoked"), "no rebalance has read the stored offsets again"
