"""One or more replicas on real servers: what they wait for, and what they survive."""

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from deploy.stack.ports import free_port
from deploy.stack.servers import Servers
from deploy.stack.topics import create_topics
from tests.support.database import Database, locked_tables, waits_for_lock
from tests.support.ledger import Entry, Topics, committed_in_kafka, ledger
from tests.support.records import meter, minute, vehicle
from tests.support.services import ConsumerGroup
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


async def produce(stack: Servers, topics: Topics, first: int, beyond: int, *, devices: int = 50) -> None:
    """Minutes [first, beyond) of some meters and as many vehicles."""
    async with AIOKafkaProducer(bootstrap_servers=stack.kafka_bootstrap_servers, acks="all") as producer:
        for number in range(first, beyond):
            for device in range(devices):
                ids = f"METER-{device}", f"VEH-{device}"
                await producer.send(topics.meter, meter(ids[0], minute(number)), ids[0].encode())
                await producer.send(topics.vehicle, vehicle(ids[1], minute(number)), ids[1].encode())


async def until_written(database: Database, topics: Topics, each: int, *, timeout: float = 90) -> None:
    """Both topics have `each` readings written, no duplicates and no dead letters."""

    async def all_there() -> bool:
        return bool(
            await database.value("SELECT coalesce(sum(records_consumed), 0) >= $1 FROM kafka_offsets", 2 * each)
        )

    await until(all_there, f"{each} readings a side are consumed", timeout=timeout)
    assert await ledger(database, topics) == {
        topic: Entry(each, each, 0, 0) for topic in (topics.meter, topics.vehicle)
    }


async def rewind_in_kafka(stack: Servers, consumer_group: str, topics: Topics) -> None:
    """Set the group's offsets in Kafka to the beginning."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=stack.kafka_bootstrap_servers, group_id=consumer_group, enable_auto_commit=False
    )
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, each) for topic in (topics.meter, topics.vehicle) for each in range(4)]
        consumer.assign(partitions)
        await consumer.commit(dict.fromkeys(partitions, 0))
    finally:
        await consumer.stop()
    assert set((await committed_in_kafka(stack, consumer_group)).values()) == {0}


async def test_topics_that_do_not_exist_are_waited_for_and_not_made(
    stack: Servers, database: Database, new_topics: Topics, group: ConsumerGroup
) -> None:
    replica = group.start()
    missing = {new_topics.meter, new_topics.vehicle, new_topics.assignment}
    assert set((await replica.until_logged("waiting_for_topics"))["missing"]) == missing
    assert "topics" in await replica.blocked_by()

    await create_topics(stack.kafka_bootstrap_servers, [new_topics.meter, new_topics.vehicle], partitions=3)
    await produce(stack, new_topics, 0, 2)
    await until_written(database, new_topics, 100)
    assert await database.value("SELECT count(*) FROM kafka_offsets") == 6, "with the partitions that somebody chose"
    await replica.until_ready()


async def test_a_kafka_that_is_not_there_is_waited_for_and_the_replica_stops_when_told(group: ConsumerGroup) -> None:
    replica = group.start(KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{free_port()}")
    await replica.until_logged("waiting_for_kafka")
    assert "does not answer" in (await replica.blocked_by())["kafka"]
    assert group.stop(replica) == 0


async def test_a_database_that_cannot_be_used_yet_is_waited_for(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup
) -> None:
    await database.execute("ALTER TABLE kafka_offsets RENAME TO not_migrated_yet")
    replica = group.start()
    await replica.until_logged("stored_offsets_unavailable")
    await produce(stack, topics, 0, 2)
    assert "stored_offsets" in await replica.blocked_by()
    assert await replica.metric("energy_ingest_paused", reason="stored_offsets") == 1

    await database.execute("ALTER TABLE not_migrated_yet RENAME TO kafka_offsets")
    await until_written(database, topics, 100)
    await replica.until_ready()


async def test_a_passing_fault_is_retried_and_reported_and_fills_no_dead_letters(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup
) -> None:
    replica = group.start()
    await replica.until_ready()
    await database.execute("REVOKE INSERT ON meter_telemetry_history FROM energy_writer")
    await produce(stack, topics, 0, 2)

    assert (await replica.until_logged("write_retried"))["sqlstate"] == "42501"
    assert await replica.metric("energy_write_retries_total", cause="schema_or_permission") >= 1
    assert "database" in await replica.blocked_by()

    await database.execute("GRANT INSERT ON meter_telemetry_history TO energy_writer")
    await until_written(database, topics, 100)
    await replica.until_ready()


async def test_a_stopped_replica_writes_what_it_has_and_another_goes_on(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup
) -> None:
    first = group.start()
    await produce(stack, topics, 0, 3)
    await until_written(database, topics, 150)
    assert group.stop(first) == 0
    assert first.events("consumer_stopped")

    await produce(stack, topics, 3, 5)
    group.start()
    await until_written(database, topics, 250)


async def test_a_frozen_replica_that_wakes_up_writes_nothing_twice(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup
) -> None:
    zombie = group.start(BATCH_MAX_RECORDS="50")
    await zombie.until_ready()
    async with locked_tables(database):
        await produce(stack, topics, 0, 10)
        await until(lambda: waits_for_lock(database), "the replica is in the middle of a transaction")
        zombie.freeze()
    group.start()
    await until_written(database, topics, 500)

    zombie.thaw()
    await produce(stack, topics, 10, 12)
    await until_written(database, topics, 600)
    assert zombie.process.poll() is None


async def test_holes_that_transactions_leave_in_the_log_are_passed_and_aborted_records_are_not_read(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup
) -> None:
    replica = group.start()
    producer = AIOKafkaProducer(bootstrap_servers=stack.kafka_bootstrap_servers, transactional_id=topics.meter)
    async with producer:
        for number in range(10):
            await producer.begin_transaction()
            await producer.send(topics.meter, meter(at=minute(number)), partition=0)
            if number % 5 == 4:
                await producer.abort_transaction()
            else:
                await producer.commit_transaction()
    await produce(stack, topics, 100, 101)

    async def all_there() -> bool:
        return bool(await database.value("SELECT coalesce(sum(records_consumed), 0) = 108 FROM kafka_offsets"))

    await until(all_there, "the committed records are consumed")
    assert (await ledger(database, topics))[topics.meter] == Entry(58, 58, 0, 0)
    assert replica.events("log_hole_found")


async def test_offsets_rewound_in_kafka_change_nothing(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup
) -> None:
    first = group.start()
    await produce(stack, topics, 0, 2)
    await until_written(database, topics, 100)
    group.stop(first)

    await rewind_in_kafka(stack, group.environment["KAFKA_GROUP_ID"], topics)
    group.start()
    await produce(stack, topics, 2, 3)
    await until_written(database, topics, 150)


async def test_a_gap_between_the_stored_offset_and_the_log_halts_those_partitions_alone(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup
) -> None:
    first = group.start()
    await produce(stack, topics, 0, 2)
    await until_written(database, topics, 100)
    group.stop(first)
    await database.execute(
        f"UPDATE kafka_offsets SET next_offset = next_offset + 1000000 WHERE topic = '{topics.meter}' AND partition < 3"
    )

    # A group that Kafka has never heard of: the partition that is halted has no offset there either.
    await database.execute("UPDATE kafka_offsets SET consumer_group = 'other'")
    replica = group.start(KAFKA_GROUP_ID="other")
    halted = await replica.until_logged("partition_halted")
    assert halted["topic"] == topics.meter
    assert halted["partition"] < 3
    assert "1000" in halted["gap"]
    assert "offset_gap" in await replica.blocked_by()
    await produce(stack, topics, 2, 3)

    async def the_others_go_on() -> bool:
        consumed = await database.value(
            "SELECT sum(records_consumed) FROM kafka_offsets WHERE topic = $1", topics.vehicle
        )
        return bool(consumed == 150)

    await until(the_others_go_on, "the vehicles' readings are written")

    await database.execute(
        f"UPDATE kafka_offsets SET next_offset = next_offset - 1000000 WHERE topic = '{topics.meter}' AND partition < 3"
    )
    await until_written(database, topics, 150)
    await replica.until_ready()
