"""A partition continues only in the log that its stored offset belongs to, and where the database says."""

from collections.abc import Sequence
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete

from deploy.stack.servers import Servers
from deploy.stack.topics import create_topics
from tests.support.command import Command, consumer_command, partition_statuses
from tests.support.database import Database
from tests.support.ledger import Entry, Topics, ledger, until_consumed
from tests.support.records import meter, minute
from tests.support.services import ConsumerGroup
from tests.support.waiting import until

pytestmark = pytest.mark.anyio
READ = 50
# What a database holds of readings, in an order in which it can be restored.
TABLES = ("kafka_offsets", "meter_telemetry_history", "meter_live_status", "dead_letters")


@pytest.fixture
def operator(environment: dict[str, str], database: Database) -> Command:
    return consumer_command(environment, database)


def meters(first: int, end: int) -> list[bytes]:
    return [meter(f"METER-{each % 10}", minute(each // 10)) for each in range(first, end)]


async def produce(
    stack: Servers, topic: str, values: Sequence[bytes], *, timestamp: int | None = None, **settings: Any
) -> None:
    """Produce records to partition 1, in one transaction if there is a transactional_id."""
    async with AIOKafkaProducer(bootstrap_servers=stack.kafka_bootstrap_servers, acks="all", **settings) as producer:
        if "transactional_id" in settings:
            async with producer.transaction():
                for value in values:
                    await producer.send(topic, value, partition=1, timestamp_ms=timestamp)
        else:
            for value in values:
                await producer.send(topic, value, partition=1, timestamp_ms=timestamp)


async def recreate(stack: Servers, topics: Topics) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap_servers)
    await admin.start()
    await admin.delete_topics([topics.meter])
    await admin.close()

    async def created() -> bool:
        try:
            await create_topics(stack.kafka_bootstrap_servers, [topics.meter], partitions=topics.partitions)
        except Exception:  # noqa: BLE001 - the deletion continues for a moment after the topic is no longer listed
            return False
        return True

    await until(created, "the topic is recreated")


async def delete_all_records(stack: Servers, topics: Topics) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap_servers)
    await admin.start()
    await admin.delete_records({TopicPartition(topics.meter, 1): RecordsToDelete(before_offset=-1)})
    await admin.close()


async def row(database: Database, topics: Topics) -> tuple[Any, ...]:
    """The stored offset and the halt of partition 1; empty before it is read for the first time."""
    query = "SELECT next_offset, halt_reason FROM kafka_offsets WHERE topic = $1 AND partition = 1"
    found = await database.fetch(query, topics.meter)
    return tuple(found[0]) if found else ()


async def read_by_a_first_consumer(stack: Servers, database: Database, topics: Topics, group: ConsumerGroup) -> None:
    first = group.start()
    await produce(stack, topics.meter, meters(0, READ))
    await until_consumed(database, topics.meter, READ)
    assert group.stop(first) == 0


async def accept_gap(operator: Command, topics: Topics) -> None:
    await operator.succeed("offsets", "accept-gap", topics.meter, "1", "--yes")


async def test_a_halt_is_stored_and_outlives_the_growth_of_a_recreated_topic(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup, operator: Command
) -> None:
    await read_by_a_first_consumer(stack, database, topics, group)
    await recreate(stack, topics)
    await produce(stack, topics.meter, meters(READ, READ + 10))
    consumer = group.start()
    gap = (await consumer.until_logged("partition_halted"))["gap"]
    assert "the log ends at 10: the topic was recreated" in gap

    await produce(stack, topics.meter, meters(READ + 10, READ + 70))
    successor = group.start()  # the offset is in the log by now
    group.stop(consumer)
    assert (await successor.until_logged("partition_halted"))["gap"] == gap
    assert await row(database, topics) == (READ, gap)
    (halted,) = [each for each in await partition_statuses(operator) if each["gap"]]
    assert halted["gap"] == gap
    assert halted["state"].startswith("halted since 20")
    assert "offset_gap" in await successor.blocked_by()

    await accept_gap(operator, topics)
    await until_consumed(database, topics.meter, READ + 70)
    await successor.until_ready()
    assert (await ledger(database, topics))[topics.meter] == Entry(READ + 70, READ + 70, 0, 0)
    decided = await database.fetch("SELECT from_offset, to_offset, reason FROM offset_decisions")
    assert [tuple(each) for each in decided] == [(READ, 0, f"gap accepted: {gap}")]


async def test_a_recreated_topic_that_has_outgrown_the_stored_offset_is_told_by_its_records(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup, operator: Command
) -> None:
    await read_by_a_first_consumer(stack, database, topics, group)
    await recreate(stack, topics)
    await produce(stack, topics.meter, meters(READ, 2 * READ + 10))
    consumer = group.start()
    gap = (await consumer.until_logged("partition_halted"))["gap"]
    assert f"offset {READ - 1} holds another record" in gap
    assert await row(database, topics) == (READ, gap)

    await accept_gap(operator, topics)
    await until_consumed(database, topics.meter, 2 * READ + 10)
    await consumer.until_ready()
    assert (await ledger(database, topics))[topics.meter] == Entry(2 * READ + 10, 2 * READ + 10, 0, 0)


async def test_a_recreated_topic_that_ends_just_before_the_stored_offset_is_not_waited_at(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup, operator: Command
) -> None:
    await read_by_a_first_consumer(stack, database, topics, group)
    await recreate(stack, topics)
    await produce(stack, topics.meter, meters(READ, 2 * READ - 1))  # ends where the last record was
    consumer = group.start()
    gap = (await consumer.until_logged("partition_halted"))["gap"]
    assert f"offset {READ} is stored but the log ends at {READ - 1}" in gap

    await accept_gap(operator, topics)
    await until_consumed(database, topics.meter, 2 * READ - 1)
    await consumer.until_ready()
    assert (await ledger(database, topics))[topics.meter] == Entry(2 * READ - 1, 2 * READ - 1, 0, 0)


async def test_a_marker_where_the_last_record_was_is_another_log(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup, operator: Command
) -> None:
    await read_by_a_first_consumer(stack, database, topics, group)
    await recreate(stack, topics)
    await produce(stack, topics.meter, meters(READ, 2 * READ - 1), transactional_id=topics.meter)

    async def has_its_marker() -> bool:
        return READ in [each["stable_end"] for each in await partition_statuses(operator)]

    await until(has_its_marker, "the transaction is complete")
    await produce(stack, topics.meter, meters(2 * READ, 3 * READ))
    consumer = group.start()
    gap = (await consumer.until_logged("partition_halted"))["gap"]
    assert f"offset {READ - 1} holds no record any more" in gap

    await accept_gap(operator, topics)
    await until_consumed(database, topics.meter, 3 * READ - 1)
    assert (await ledger(database, topics))[topics.meter] == Entry(3 * READ - 1, 3 * READ - 1, 0, 0)


async def test_a_record_where_a_marker_was_is_another_log(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup, operator: Command
) -> None:
    """As after an unclean election that takes the marker alone: everything that was read is still there."""
    first, timestamp = group.start(), 1_700_000_000_000
    await produce(stack, topics.meter, meters(0, READ), transactional_id=topics.meter, timestamp=timestamp)

    async def behind_the_marker() -> bool:
        return await row(database, topics) == (READ + 1, None)

    await until(behind_the_marker, "the stored offset is the end of the log")
    assert group.stop(first) == 0
    await recreate(stack, topics)
    await produce(stack, topics.meter, meters(0, READ), timestamp=timestamp)
    await produce(stack, topics.meter, meters(READ, READ + 10))
    consumer = group.start()
    gap = (await consumer.until_logged("partition_halted"))["gap"]
    assert f"offset {READ} holds a record that was not there" in gap

    await operator.succeed("offsets", "reset", topics.meter, "1", "--to", str(READ), "--yes")
    await until_consumed(database, topics.meter, READ + 10)
    assert (await ledger(database, topics))[topics.meter] == Entry(READ + 10, READ + 10, 0, 0)


async def test_records_where_only_aborted_ones_were_are_another_log(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup, operator: Command
) -> None:
    first = group.start()
    async with AIOKafkaProducer(
        bootstrap_servers=stack.kafka_bootstrap_servers, transactional_id=topics.meter
    ) as producer:
        await producer.begin_transaction()
        for value in meters(0, 10):
            await producer.send(topics.meter, value, partition=1)
        await producer.abort_transaction()

    async def at_the_end() -> bool:
        return await row(database, topics) == (11, None)

    await until(at_the_end, "the stored offset is the end of the log")
    assert group.stop(first) == 0
    await recreate(stack, topics)
    await produce(stack, topics.meter, meters(0, 20))
    consumer = group.start()
    gap = (await consumer.until_logged("partition_halted"))["gap"]
    assert "offset 0 holds a record that was not there" in gap

    await accept_gap(operator, topics)
    await until_consumed(database, topics.meter, 20)
    assert (await ledger(database, topics))[topics.meter] == Entry(20, 20, 0, 0)


@pytest.mark.parametrize("targets", [["beginning"], ["end", "beginning"]], ids=["back", "on, and back"])
async def test_a_reset_in_a_recreated_topic_tells_its_dead_letters_from_those_of_the_old_one(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup, operator: Command, targets: list[str]
) -> None:
    first = group.start()
    await produce(stack, topics.meter, [b"malformed", *meters(1, READ)])
    await until_consumed(database, topics.meter, READ)
    assert group.stop(first) == 0
    await recreate(stack, topics)
    await produce(stack, topics.meter, [b"malformed too", *meters(READ + 1, 2 * READ + 10)])

    for target in targets:

        async def is_reset(target: str = target) -> bool:  # it fails until the session of the first consumer has ended
            return (await operator.run("offsets", "reset", topics.meter, "1", "--to", target, "--yes"))[0] == 0

        await until(is_reset, "the offset is reset")
    group.start()
    await until_consumed(database, topics.meter, 2 * READ + 10)
    assert (await ledger(database, topics))[topics.meter] == Entry(2 * READ + 10, 2 * READ + 8, 0, 2)
    letters = await database.fetch("SELECT incarnation, value FROM dead_letters ORDER BY 1")
    assert [tuple(each) for each in letters] == [(0, b"malformed"), (1, b"malformed too")]


@pytest.mark.parametrize("deleted", [False, True], ids=["in the log", "deleted by retention"])
@pytest.mark.parametrize("transactional", [False, True], ids=["plain", "transactional"])
async def test_a_successor_continues_in_the_same_log(
    stack: Servers,
    database: Database,
    topics: Topics,
    group: ConsumerGroup,
    *,
    transactional: bool,
    deleted: bool,
) -> None:
    settings: dict[str, Any] = {"transactional_id": topics.meter} if transactional else {}
    first = group.start()
    await produce(stack, topics.meter, meters(0, 20), **settings)
    await until_consumed(database, topics.meter, 20)
    end = 20 + transactional

    async def behind_the_marker() -> bool:
        return await row(database, topics) == (end, None)

    await until(behind_the_marker, "the stored offset is the end of the log")
    group.stop(first)
    if deleted:
        await delete_all_records(stack, topics)

    second = group.start()
    await second.until_ready()
    await produce(stack, topics.meter, meters(20, 30), **settings)
    await until_consumed(database, topics.meter, 30)
    assert (await ledger(database, topics))[topics.meter] == Entry(30, 30, 0, 0)
    assert not second.events("partition_halted")


async def test_the_stored_offset_follows_markers_and_aborted_records(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup, operator: Command
) -> None:
    consumer = group.start()
    async with AIOKafkaProducer(
        bootstrap_servers=stack.kafka_bootstrap_servers, transactional_id=topics.meter
    ) as producer:
        for number in range(30):
            await producer.begin_transaction()
            await producer.send(topics.meter, meter(at=minute(number)), partition=1)
            await (producer.abort_transaction() if number >= 20 else producer.commit_transaction())

    async def at_the_end() -> bool:
        return await row(database, topics) == (60, None)

    await until(at_the_end, "the stored offset is the end of the log")
    assert (await ledger(database, topics))[topics.meter] == Entry(20, 20, 0, 0)
    (status,) = [each for each in await partition_statuses(operator) if each["end"]]
    assert (status["stored"], status["end"]) == (60, 60)
    # Nobody has lost anything when retention deletes what holds no record.
    await delete_all_records(stack, topics)
    group.stop(consumer)
    successor = group.start()
    await produce(stack, topics.meter, meters(300, 310))
    await until_consumed(database, topics.meter, 30)
    assert not successor.events("partition_halted")


@pytest.mark.parametrize("backup", [0, 20], ids=["before the partition was known", "before the last readings"])
async def test_a_database_that_goes_back_in_time_gets_the_readings_of_idle_partitions_again(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup, backup: int
) -> None:
    consumer = group.start(LOG_LEVEL="INFO")
    await consumer.until_ready()
    if backup:
        await produce(stack, topics.meter, meters(0, backup))
        await until_consumed(database, topics.meter, backup)
    saved = await save(database, empty=not backup)
    await produce(stack, topics.meter, [*meters(backup, READ), b"malformed"])
    await until_consumed(database, topics.meter, READ + 1)
    before = await contents(database)

    await restore(database, saved)
    await until_consumed(database, topics.meter, READ + 1)
    assert (await ledger(database, topics))[topics.meter] == Entry(READ + 1, READ, 0, 1)
    assert await contents(database) == before
    assert consumer.events("stored_offset_moved")
    assert await consumer.metric("energy_stored_offsets_moved_total") >= 1
    await consumer.until_ready()


async def save(database: Database, *, empty: bool) -> list[str]:
    """Copy the tables; returns the statements that restore them, together, as a backup would."""
    connection = await asyncpg.connect(database.migrator_url)
    condition = "WHERE false" if empty else ""
    for table in TABLES:
        await connection.execute(f"CREATE TABLE saved_{table} AS SELECT * FROM {table} {condition}")
    await connection.close()
    return [f"TRUNCATE {', '.join(TABLES)}", *(f"INSERT INTO {each} SELECT * FROM saved_{each}" for each in TABLES)]


async def restore(database: Database, statements: list[str]) -> None:
    await database.execute("BEGIN; " + "; ".join(statements) + "; COMMIT")


async def contents(database: Database) -> list[list[tuple[Any, ...]]]:
    queries = (
        "SELECT meter_id, recorded_at, kwh_consumed_ac FROM meter_telemetry_history ORDER BY 1, 2",
        "SELECT meter_id, recorded_at FROM meter_live_status ORDER BY 1",
        'SELECT topic, partition, "offset", value FROM dead_letters ORDER BY 1, 2, 3',
        "SELECT topic, partition, next_offset, records_written FROM kafka_offsets ORDER BY 1, 2",
    )
    return [[tuple(each) for each in await database.fetch(query)] for query in queries]


async def test_an_operator_may_halt_a_partition_and_no_consumer_writes_it(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup, operator: Command
) -> None:
    consumer = group.start()
    await produce(stack, topics.meter, meters(0, 20))
    await until_consumed(database, topics.meter, 20)
    await database.execute(
        f"UPDATE kafka_offsets SET halt_reason = 'by hand', halted_at = now() WHERE topic = '{topics.meter}' AND partition = 1"
    )
    assert (await consumer.until_logged("partition_halted"))["gap"] == "by hand"
    await produce(stack, topics.meter, meters(20, 40))
    await operator.succeed("offsets", "reset", topics.meter, "1", "--to", "20", "--yes")  # although a consumer holds it
    await until_consumed(database, topics.meter, 40)
    await consumer.until_ready()
    assert (await ledger(database, topics))[topics.meter] == Entry(40, 40, 0, 0)
