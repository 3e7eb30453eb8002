"""Consumer lag in records and in seconds, for each reason why records are not consumed."""

import time

import pytest
from aiokafka import AIOKafkaProducer
from prometheus_client.parser import text_string_to_metric_families

from deploy.stack.servers import Servers
from tests.support.database import Database
from tests.support.ledger import Entry, Topics, committed_in_kafka, ledger, until_consumed
from tests.support.records import meter, minute
from tests.support.responses import http_client
from tests.support.services import ConsumerGroup, ConsumerProcess
from tests.support.waiting import until

pytestmark = pytest.mark.anyio
HOUR = 3600.0


async def produce(stack: Servers, topic: str, values: list[bytes], *, age: float = 0.0) -> None:
    """Produce records to partition 0 with a timestamp `age` seconds ago."""
    at = int((time.time() - age) * 1000)
    async with AIOKafkaProducer(bootstrap_servers=stack.kafka_bootstrap_servers, acks="all") as producer:
        for value in values:
            await producer.send(topic, value, partition=0, timestamp_ms=at)
        await producer.flush()


async def lag(consumer: ConsumerProcess, topic: str) -> tuple[float, float]:
    """Lag of partition 0 in records and in seconds."""
    labels = {"topic": topic, "partition": "0"}
    return (
        await consumer.metric("energy_consumer_lag_records", **labels),
        await consumer.metric("energy_consumer_lag_seconds", **labels),
    )


async def partitions_with_lag(consumer: ConsumerProcess) -> set[tuple[str, str]]:
    """Topic and partition of every series of the lag metric."""
    async with http_client(await consumer.address()) as client:
        text = (await client.get("/metrics")).text
    samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
    labels = [each.labels for each in samples if each.name == "energy_consumer_lag_seconds"]
    return {(each["topic"], each["partition"]) for each in labels}


async def until_lag(consumer: ConsumerProcess, topic: str, records: int, *, at_least: float, below: float) -> None:
    async def as_expected() -> bool:
        behind, seconds = await lag(consumer, topic)
        return behind == records and at_least <= seconds < below

    await until(as_expected, f"{topic} is {records} records and {at_least} to {below} s behind")


async def test_the_lag_of_a_topic_stopped_by_the_breaker_is_the_age_of_its_oldest_record(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup
) -> None:
    consumer = group.start(BREAKER_WINDOW_RECORDS="10")
    await consumer.until_ready()
    await produce(stack, topics.meter, [b"nothing"] * 20, age=HOUR)
    await consumer.until_logged("breaker_opened")
    await until_lag(consumer, topics.meter, 20, at_least=HOUR, below=2 * HOUR)
    await produce(stack, topics.meter, [b"nothing"] * 5)
    await until_lag(consumer, topics.meter, 25, at_least=HOUR, below=2 * HOUR)


async def test_a_consumer_that_starts_with_a_stopped_topic_reports_its_lag(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup
) -> None:
    first = group.start(BREAKER_WINDOW_RECORDS="10")
    await first.until_ready()
    await produce(stack, topics.meter, [b"nothing"] * 20, age=HOUR)
    await first.until_logged("breaker_opened")

    async def is_stored() -> bool:
        return bool(await database.value("SELECT count(*) FROM topic_breakers"))

    await until(is_stored, "the open breaker is stored in the database")
    group.kill(first)
    second = group.start()
    await until_lag(second, topics.meter, 20, at_least=HOUR, below=2 * HOUR)


async def test_the_lag_of_records_in_a_batch_that_waits_for_the_database_is_their_age(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup
) -> None:
    consumer = group.start()
    await consumer.until_ready()
    await database.execute("REVOKE INSERT ON meter_telemetry_history FROM energy_writer")
    await produce(stack, topics.meter, [meter(at=minute(0))], age=HOUR)
    await consumer.until_logged("write_retried")
    await until_lag(consumer, topics.meter, 1, at_least=HOUR, below=2 * HOUR)
    await produce(stack, topics.meter, [meter(at=minute(number)) for number in range(1, 4)])
    await until_lag(consumer, topics.meter, 4, at_least=HOUR, below=2 * HOUR)

    await database.execute("GRANT INSERT ON meter_telemetry_history TO energy_writer")
    await until_lag(consumer, topics.meter, 0, at_least=0, below=0.001)


async def test_transaction_markers_do_not_count_as_lag_anywhere(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup
) -> None:
    """Not in the metric, nor in the database (the fleet summary and the doctor), nor in the offsets committed to Kafka."""
    consumer = group.start()
    await consumer.until_ready()
    producer = AIOKafkaProducer(bootstrap_servers=stack.kafka_bootstrap_servers, transactional_id=f"tx-{topics.meter}")
    async with producer:
        for number in range(100):
            await producer.begin_transaction()
            await producer.send(topics.meter, meter(at=minute(number)), partition=0)
            await (producer.commit_transaction() if number % 10 else producer.abort_transaction())
    await until_consumed(database, topics.meter, 90)
    await until_lag(consumer, topics.meter, 0, at_least=0, below=0.001)

    async def lag_is_stored() -> bool:
        query = (
            "SELECT sum(end_offset - next_offset) = 0 AND sum(next_offset) = 200 FROM kafka_offsets WHERE topic = $1"
        )
        return bool(await database.value(query, topics.meter))

    async def lag_is_committed() -> bool:
        committed = await committed_in_kafka(stack, group.environment["KAFKA_GROUP_ID"])
        return committed.get((topics.meter, 0)) == 200

    await until(lag_is_stored, "the stored offset is behind the last marker")
    await until(lag_is_committed, "the same offset is committed to Kafka")
    assert (await ledger(database, topics))[topics.meter] == Entry(90, 90, 0, 0)
    logged = [line for line in consumer.log.read_text().splitlines() if '"level": "debug"' not in line]
    assert len(logged) < 50, "a transaction is no event"


async def test_a_consumer_drops_the_lag_series_of_partitions_it_no_longer_has(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup
) -> None:
    first = group.start()
    all_partitions = {(topic, str(number)) for topic in (topics.meter, topics.vehicle) for number in range(4)}

    async def reports(consumer: ConsumerProcess, number: int) -> bool:
        return len(await partitions_with_lag(consumer)) == number

    await until(lambda: reports(first, 8), "one consumer reports the lag of all partitions")
    second = group.start()
    await until(lambda: reports(second, 4), "the second consumer reports the lag of its half")
    await until(lambda: reports(first, 4), "the first consumer reports only the lag of the other half")
    assert await partitions_with_lag(first) | await partitions_with_lag(second) == all_partitions


async def test_records_behind_an_open_transaction_are_lag_and_the_transaction_is_named(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup
) -> None:
    consumer = group.start()
    await consumer.until_ready()
    at = int((time.time() - HOUR) * 1000)
    producer = AIOKafkaProducer(
        bootstrap_servers=stack.kafka_bootstrap_servers,
        transactional_id=f"tx-{topics.meter}",
        transaction_timeout_ms=180_000,
    )

    async def unread_in_the_database(records: int) -> bool:
        """What the fleet summary and the doctor count."""
        query = "SELECT end_offset - next_offset FROM kafka_offsets WHERE topic = $1 AND partition = 0"
        return bool(await database.value(query, topics.meter) == records)

    async with producer:
        await producer.begin_transaction()
        await producer.send_and_wait(topics.meter, meter(at=minute(0)), partition=0, timestamp_ms=at)
        await produce(stack, topics.meter, [meter(at=minute(number)) for number in range(1, 51)])
        await until_lag(consumer, topics.meter, 51, at_least=HOUR, below=2 * HOUR)
        labels = {"topic": topics.meter, "partition": "0"}
        assert await consumer.metric("energy_consumer_open_transaction_seconds", **labels) > 0
        assert await consumer.blocked_by() == {}
        await until(lambda: unread_in_the_database(51), "the unread records are in the database", timeout=90)
        await producer.commit_transaction()
    await until_consumed(database, topics.meter, 51)
    await until_lag(consumer, topics.meter, 0, at_least=0, below=0.001)
    assert await consumer.metric("energy_consumer_open_transaction_seconds") == 0
    await until(lambda: unread_in_the_database(0), "the database knows that everything is read")
