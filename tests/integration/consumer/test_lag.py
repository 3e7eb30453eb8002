"""Lag in records and in seconds, whoever or whatever keeps the records from being read."""

import time

import httpx
import pytest
from aiokafka import AIOKafkaProducer
from prometheus_client.parser import text_string_to_metric_families

from deploy.stack.servers import Servers
from tests.support.database import Database
from tests.support.ledger import Topics
from tests.support.records import meter, minute
from tests.support.services import ConsumerGroup, ConsumerProcess
from tests.support.waiting import until

pytestmark = pytest.mark.anyio
HOUR = 3600.0


async def produce(stack: Servers, topic: str, values: list[bytes], *, age: float = 0.0) -> None:
    """Records of partition 0 that say that they were produced `age` seconds ago."""
    at = int((time.time() - age) * 1000)
    async with AIOKafkaProducer(bootstrap_servers=stack.kafka_bootstrap_servers, acks="all") as producer:
        for value in values:
            await producer.send(topic, value, partition=0, timestamp_ms=at)
        await producer.flush()


async def lag(replica: ConsumerProcess, topic: str) -> tuple[float, float]:
    """Records and seconds of partition 0."""
    where = {"topic": topic, "partition": "0"}
    return (
        await replica.metric("energy_consumer_lag_records", **where),
        await replica.metric("energy_consumer_lag_seconds", **where),
    )


async def series(replica: ConsumerProcess) -> set[tuple[str, str]]:
    """The partitions that a replica says a lag of."""
    async with httpx.AsyncClient() as client:
        text = (await client.get(f"{await replica.address()}/metrics")).text
    samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
    found = [each.labels for each in samples if each.name == "energy_consumer_lag_seconds"]
    return {(labels["topic"], labels["partition"]) for labels in found}


async def until_lag(replica: ConsumerProcess, topic: str, records: int, *, at_least: float, below: float) -> None:
    async def as_expected() -> bool:
        behind, seconds = await lag(replica, topic)
        return behind == records and at_least <= seconds < below

    await until(as_expected, f"{topic} is {records} records and {at_least} to {below} s behind")


async def test_a_topic_that_the_breaker_has_stopped_is_as_far_behind_as_its_oldest_record_is_old(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup
) -> None:
    replica = group.start(BREAKER_WINDOW_RECORDS="10")
    await replica.until_ready()
    await produce(stack, topics.meter, [b"nothing"] * 20, age=HOUR)
    await replica.until_logged("breaker_opened")
    await until_lag(replica, topics.meter, 20, at_least=HOUR, below=2 * HOUR)
    await produce(stack, topics.meter, [b"nothing"] * 5)
    await until_lag(replica, topics.meter, 25, at_least=HOUR, below=2 * HOUR)


async def test_a_replica_that_starts_on_a_stopped_topic_knows_its_lag(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup
) -> None:
    first = group.start(BREAKER_WINDOW_RECORDS="10")
    await first.until_ready()
    await produce(stack, topics.meter, [b"nothing"] * 20, age=HOUR)
    await first.until_logged("breaker_opened")

    async def noted() -> bool:
        return bool(await database.value("SELECT count(*) FROM topic_breakers"))

    await until(noted, "the breaker is noted in the database")
    group.kill(first)
    second = group.start()
    await until_lag(second, topics.meter, 20, at_least=HOUR, below=2 * HOUR)


async def test_records_that_wait_in_a_batch_for_the_database_are_as_old_as_they_are(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup
) -> None:
    replica = group.start()
    await replica.until_ready()
    await database.execute("REVOKE INSERT ON meter_telemetry_history FROM energy_writer")
    await produce(stack, topics.meter, [meter(at=minute(0))], age=HOUR)
    await replica.until_logged("write_retried")
    await until_lag(replica, topics.meter, 1, at_least=HOUR, below=2 * HOUR)
    await produce(stack, topics.meter, [meter(at=minute(number)) for number in range(1, 4)])
    await until_lag(replica, topics.meter, 4, at_least=HOUR, below=2 * HOUR)

    await database.execute("GRANT INSERT ON meter_telemetry_history TO energy_writer")
    await until_lag(replica, topics.meter, 0, at_least=0, below=0.001)


async def test_markers_of_transactions_are_nothing_to_read(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup
) -> None:
    replica = group.start()
    await replica.until_ready()
    producer = AIOKafkaProducer(bootstrap_servers=stack.kafka_bootstrap_servers, transactional_id=f"tx-{topics.meter}")
    async with producer, producer.transaction():
        await producer.send_and_wait(topics.meter, meter(at=minute(0)), partition=0)

    async def written() -> bool:
        return bool(await database.value("SELECT count(*) FROM meter_telemetry_history") == 1)

    await until(written, "the reading is written")
    await until_lag(replica, topics.meter, 0, at_least=0, below=0.001)


async def test_the_series_of_a_partition_end_when_another_replica_has_it(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup
) -> None:
    first = group.start()
    everything = {(topic, str(number)) for topic in (topics.meter, topics.vehicle) for number in range(4)}

    async def has(replica: ConsumerProcess, number: int) -> bool:
        return len(await series(replica)) == number

    await until(lambda: has(first, 8), "one replica says the lag of all partitions")
    second = group.start()
    await until(lambda: has(second, 4), "the second has its half")
    await until(lambda: has(first, 4), "and the first has lost it")
    assert await series(first) | await series(second) == everything
