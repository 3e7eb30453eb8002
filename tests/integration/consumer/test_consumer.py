"""Consumer processes on real servers: startup without topics, Kafka or schema, restarts, rewound offsets, and gaps."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from deploy.stack.ports import free_port
from deploy.stack.servers import Servers
from deploy.stack.topics import create_topics
from tests.support.command import consumer_command
from tests.support.database import Database, locked_tables, waits_for_lock
from tests.support.ledger import Entry, Topics, committed_in_kafka, consumed, ledger, until_consumed
from tests.support.records import meter, minute, vehicle
from tests.support.services import ConsumerGroup
from tests.support.topics import produce as produce_records
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


async def produce(stack: Servers, topics: Topics, first: int, end: int, *, devices: int = 50) -> None:
    """Produce minutes [first, end) of some meters and as many vehicles."""
    async with AIOKafkaProducer(bootstrap_servers=stack.kafka_bootstrap_servers, acks="all") as producer:
        for number in range(first, end):
            for device in range(devices):
                ids = f"METER-{device}", f"VEH-{device}"
                await producer.send(topics.meter, meter(ids[0], minute(number)), ids[0].encode())
                await producer.send(topics.vehicle, vehicle(ids[1], minute(number)), ids[1].encode())


async def until_written(database: Database, topics: Topics, each: int, *, timeout: float = 90) -> None:
    """Wait until each topic has `each` readings written; there must be no duplicates and no dead letters."""

    async def all_consumed() -> bool:
        return bool(
            await database.value("SELECT coalesce(sum(records_consumed), 0) >= $1 FROM kafka_offsets", 2 * each)
        )

    await until(all_consumed, f"{each} readings a topic are consumed", timeout=timeout)
    assert await ledger(database, topics) == {
        topic: Entry(each, each, 0, 0) for topic in (topics.meter, topics.vehicle)
    }


async def rewind_in_kafka(stack: Servers, consumer_group: str, topics: Topics) -> None:
    """Commit offset 0 for every partition in the name of the group."""
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


async def test_a_consumer_waits_for_missing_topics_and_does_not_create_them(
    stack: Servers, database: Database, new_topics: Topics, group: ConsumerGroup
) -> None:
    consumer = group.start()
    missing = {new_topics.meter, new_topics.vehicle, new_topics.assignment}
    assert set((await consumer.until_logged("waiting_for_topics"))["missing"]) == missing
    assert "topics" in await consumer.blocked_by()

    await create_topics(stack.kafka_bootstrap_servers, [new_topics.meter, new_topics.vehicle], partitions=3)
    await produce(stack, new_topics, 0, 2)
    await until_written(database, new_topics, 100)
    assert await database.value("SELECT count(*) FROM kafka_offsets") == 6, (
        "the partitions that the topics were created with"
    )
    await consumer.until_ready()


async def test_a_consumer_that_waits_for_kafka_can_be_stopped(group: ConsumerGroup) -> None:
    consumer = group.start(KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{free_port()}")
    await consumer.until_logged("waiting_for_kafka")
    assert "does not answer" in (await consumer.blocked_by())["kafka"]
    assert group.stop(consumer) == 0


async def test_a_consumer_waits_for_the_schema_to_be_migrated(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup
) -> None:
    await database.execute("ALTER TABLE kafka_offsets RENAME TO not_migrated_yet")
    consumer = group.start()
    await consumer.until_logged("stored_offsets_unavailable")
    await produce(stack, topics, 0, 2)
    assert "stored_offsets" in await consumer.blocked_by()
    assert await consumer.metric("energy_ingest_paused", reason="stored_offsets") == 1

    await database.execute("ALTER TABLE not_migrated_yet RENAME TO kafka_offsets")
    await until_written(database, topics, 100)
    await consumer.until_ready()


async def test_a_write_that_fails_for_lack_of_permission_is_retried_and_not_dead_lettered(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup
) -> None:
    consumer = group.start()
    await consumer.until_ready()
    await database.execute("REVOKE INSERT ON meter_telemetry_history FROM energy_writer")
    await produce(stack, topics, 0, 2)

    assert (await consumer.until_logged("write_retried"))["sqlstate"] == "42501"
    assert await consumer.metric("energy_write_retries_total", cause="schema_or_permission") >= 1
    assert "database" in await consumer.blocked_by()

    await database.execute("GRANT INSERT ON meter_telemetry_history TO energy_writer")
    await until_written(database, topics, 100)
    await consumer.until_ready()


async def test_a_stopped_consumer_exits_cleanly_and_its_successor_continues_where_it_stopped(
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


async def test_a_consumer_that_was_frozen_in_a_transaction_writes_nothing_twice(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup
) -> None:
    zombie = group.start(BATCH_MAX_RECORDS="50")
    await zombie.until_ready()
    async with locked_tables(database):
        await produce(stack, topics, 0, 10)
        await until(lambda: waits_for_lock(database), "the consumer is in the middle of a transaction")
        zombie.freeze()
    group.start()
    await until_written(database, topics, 500)

    zombie.thaw()
    await produce(stack, topics, 10, 12)
    await until_written(database, topics, 600)
    assert zombie.process.poll() is None


async def test_gaps_left_by_kafka_transactions_are_skipped_and_aborted_records_are_not_consumed(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup
) -> None:
    group.start()
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

    async def all_consumed() -> bool:
        return bool(await database.value("SELECT coalesce(sum(records_consumed), 0) = 108 FROM kafka_offsets"))

    await until(all_consumed, "the committed records are consumed")
    assert (await ledger(database, topics))[topics.meter] == Entry(58, 58, 0, 0)


async def test_offsets_rewound_in_kafka_have_no_effect(
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


async def test_a_gap_between_the_stored_offset_and_the_log_halts_only_the_partitions_concerned(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup
) -> None:
    first = group.start()
    await produce(stack, topics, 0, 2)
    await until_written(database, topics, 100)
    group.stop(first)
    await database.execute(
        f"UPDATE kafka_offsets SET next_offset = next_offset + 1000000 WHERE topic = '{topics.meter}' AND partition < 3"
    )

    # A new group: the halted partitions have no offset in Kafka either.
    await database.execute("UPDATE kafka_offsets SET consumer_group = 'other'")
    consumer = group.start(KAFKA_GROUP_ID="other")
    halted = await consumer.until_logged("partition_halted")
    assert halted["topic"] == topics.meter
    assert halted["partition"] < 3
    assert "1000" in halted["gap"]
    assert "offset_gap" in await consumer.blocked_by()
    await produce(stack, topics, 2, 3)

    async def vehicles_are_consumed() -> bool:
        consumed = await database.value(
            "SELECT sum(records_consumed) FROM kafka_offsets WHERE topic = $1", topics.vehicle
        )
        return bool(consumed == 150)

    await until(vehicles_are_consumed, "the readings of the vehicles are written")

    for partition in range(3):
        operator = ("offsets", "reset", topics.meter, str(partition), "--to", "beginning", "--yes")
        await consumer_command(group.environment | {"KAFKA_GROUP_ID": "other"}, database).succeed(*operator)

    async def meters_are_consumed() -> bool:
        return (await ledger(database, topics))[topics.meter].written == 150

    await until(meters_are_consumed, "the readings of the meters are written")
    await consumer.until_ready()


async def test_a_session_timeout_that_the_brokers_reject_is_reported_with_its_setting(
    database: Database, topics: Topics, group: ConsumerGroup
) -> None:
    consumer = group.start(KAFKA_SESSION_TIMEOUT_MS="3600000")

    async def rejected() -> str:  # a new group may have no coordinator at first, which is another failure
        return next((each["detail"] for each in consumer.events("fetch_failed") if "detail" in each), "")

    detail = await until(rejected, "the rejected setting is logged")
    assert "KAFKA_SESSION_TIMEOUT_MS=3600000" in detail
    assert "1800000" in detail
    assert (await consumer.blocked_by())["kafka"] == detail
    assert await database.value("SELECT count(*) FROM kafka_offsets") == 0, "it is no member of the group"


async def test_an_error_of_our_own_code_in_the_background_is_logged_once_with_its_stack(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup
) -> None:
    """Python has no instant for the year 20000."""
    consumer = group.start()
    await consumer.until_ready()
    await database.execute(
        "INSERT INTO topic_breakers (consumer_group, topic, state, detail, changed_at) "
        f"VALUES ('{group.environment['KAFKA_GROUP_ID']}', 'other', 'open', 'x', '20000-01-01')"
    )

    async def ended() -> bool:
        return consumer.process.poll() is not None

    await until(ended, "the consumer ends")
    assert consumer.process.poll() == 70
    (event,) = consumer.events("internal_error")
    assert "OverflowError" in event["error"]
    assert "breaker" in event["exception"]
    assert "Traceback" not in "".join(
        line for line in consumer.log.read_text().splitlines() if not line.startswith("{")
    )


SHIFTED_CLOCK = """
import os, pathlib, time
real = time.time
time.time = lambda: real() + float(pathlib.Path(os.environ["CLOCK_AHEAD_FILE"]).read_text())
"""


async def test_a_consumer_whose_clock_is_wrong_takes_nothing_until_it_is_right(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(SHIFTED_CLOCK)
    ahead = tmp_path / "ahead"
    ahead.write_text("-600")
    consumer = group.start(PYTHONPATH=str(tmp_path), CLOCK_AHEAD_FILE=str(ahead), BREAKER_WINDOW_RECORDS="10")
    detail = (await consumer.until_logged("clock_wrong"))["detail"]
    assert "600 s behind the database's" in detail
    await consumer.until_logged("partitions_assigned")
    assert (await consumer.blocked_by())["clock"] == detail
    assert await consumer.metric("energy_ingest_paused", reason="clock") == 1
    assert await consumer.metric("energy_consumer_clock_offset_seconds") == pytest.approx(-600, abs=5)

    now = datetime.now(UTC)
    async with AIOKafkaProducer(bootstrap_servers=stack.kafka_bootstrap_servers, acks="all") as producer:
        for number in range(50):
            await producer.send(topics.meter, meter(f"METER-{number}", now), f"METER-{number}".encode())

    async def behind() -> bool:
        return await consumer.metric("energy_consumer_lag_records", topic=topics.meter) == 50

    await until(behind, "the readings of now wait: by the clock that is ten minutes slow they are of the future")
    assert await consumed(database) == 0
    assert consumer.events("breaker_opened") == []

    replaced = tmp_path / "corrected"
    replaced.write_text("0")
    replaced.replace(ahead)
    await until_consumed(database, topics.meter, 50)
    assert (await ledger(database, topics))[topics.meter] == Entry(50, 50, 0, 0)
    await consumer.until_ready()


async def test_several_topics_of_a_type_are_read_and_a_reading_that_is_in_two_of_them_is_stored_once(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup
) -> None:
    """As those of a region that mirrors another one."""
    mirrored = f"other-region.{topics.meter}"
    await create_topics(stack.kafka_bootstrap_servers, [mirrored], partitions=2)
    servers = stack.kafka_bootstrap_servers
    await produce_records(servers, topics.meter, [meter("METER-1", minute(each)) for each in range(30)])
    await produce_records(servers, mirrored, [meter("METER-1", minute(each)) for each in range(20, 50)])
    conflicting = meter("METER-1", minute(25), 0.9)
    await produce_records(servers, mirrored, [*(meter("METER-2", minute(each)) for each in range(10)), conflicting])
    both = replace(topics, meter=f"{topics.meter}, {mirrored}")

    group.start(KAFKA_METER_TOPIC=both.meter)
    await until_consumed(database, None, 71)

    counts = await ledger(database, both)
    assert [counts[topics.meter].consumed, counts[mirrored].consumed] == [30, 41]
    assert sum(each.written for each in counts.values()) == await database.value("SELECT count(*) FROM meter_readings")
    assert sum(each.written for each in counts.values()) == 60
    assert sum(each.duplicates for each in counts.values()) == 10
    assert sum(each.dead_lettered for each in counts.values()) == 1
