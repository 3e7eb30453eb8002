"""The operator commands for offsets, dead letters and breakers, while consumers run."""

import asyncio
import json
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete

from deploy.stack.servers import Servers
from deploy.stack.topics import create_topics
from schemas.records.readings import Reason
from tests.support.command import Command, consumer_command, partition_statuses
from tests.support.database import Database
from tests.support.ledger import Entry, Topics, ledger, until_consumed
from tests.support.records import meter, minute, vehicle
from tests.support.repository import ROOT
from tests.support.services import ConsumerGroup
from tests.support.waiting import until

pytestmark = pytest.mark.anyio
BROKEN = b'{"meterId": "METER-1", "kwh": 1}'


@pytest.fixture
def operator(environment: dict[str, str], database: Database) -> Command:
    return consumer_command(environment, database)


async def produce(stack: Servers, topic: str, values: list[bytes], *, partition: int | None = None) -> None:
    async with AIOKafkaProducer(bootstrap_servers=stack.kafka_bootstrap_servers, acks="all") as producer:
        for number, value in enumerate(values):
            await producer.send(topic, value, str(number).encode(), partition=partition)


def meters(first: int, end: int, **changes: Any) -> list[bytes]:
    return [meter(f"METER-{each % 10}", minute(each // 10), **changes) for each in range(first, end)]


async def test_invalid_records_stop_only_their_topic_until_an_operator_closes_the_breaker(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup, operator: Command
) -> None:
    consumers = [group.start(BREAKER_WINDOW_RECORDS="100") for _ in range(2)]
    for consumer in consumers:
        await consumer.until_ready()
    await produce(stack, topics.meter, meters(0, 100))
    await until_consumed(database, topics.meter, 100)
    await produce(stack, topics.meter, [BROKEN] * 2000)

    for consumer in consumers:
        await until_stopped(consumer)
        assert await consumer.metric("energy_breaker_open", topic=topics.meter) == 1
    await produce(stack, topics.vehicle, [vehicle(at=minute(each)) for each in range(50)])
    await until_consumed(database, topics.vehicle, 50)
    letters = (await ledger(database, topics))[topics.meter].dead_lettered
    assert letters <= 200, "at most one window for each consumer"
    await until_shown(operator, topics.meter)
    # A breaker closed while most records are rejected opens again. The command is repeated in case it races with a consumer.
    before = times_opened(consumers)

    async def opened_again() -> bool:
        if times_opened(consumers) == before:
            await operator.run("breaker", "close", topics.meter)
        return times_opened(consumers) > before

    await until(opened_again, "a breaker has opened again")
    await until_shown(operator, topics.meter)
    # With --let-through these records become dead letters, and the breaker closes by itself after valid records.
    await operator.succeed("breaker", "close", topics.meter, "--let-through")
    await until_consumed(database, topics.meter, 2100)
    await produce(stack, topics.meter, meters(100, 900))
    await until_consumed(database, topics.meter, 2900)
    for consumer in consumers:
        await consumer.until_ready()
    assert (await ledger(database, topics))[topics.meter] == Entry(2900, 900, 0, 2000)
    await until_shown(operator, "no topic is stopped")  # the breaker has closed by itself
    assert "is not stopped" in await operator.fail("breaker", "close", topics.meter)


async def until_stopped(consumer: Any) -> None:
    async def stopped() -> bool:
        return "breaker_open" in await consumer.blocked_by()

    await until(stopped, "the consumer has stopped reading")


async def until_shown(operator: Command, text: str) -> None:
    async def shown() -> bool:
        return text in (await operator.succeed("breaker", "show"))[0]

    await until(shown, f"`breaker show` prints {text}")


def times_opened(consumers: list[Any]) -> int:
    return sum(len(consumer.events("breaker_opened")) for consumer in consumers)


async def test_a_recreated_topic_is_halted_and_read_from_its_beginning_once_the_gap_is_accepted(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup, operator: Command
) -> None:
    first = group.start()
    await produce(stack, topics.meter, [BROKEN, *meters(1, 50)], partition=1)
    await until_consumed(database, topics.meter, 50)
    group.stop(first)
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap_servers)
    await admin.start()
    await admin.delete_topics([topics.meter])

    async def gone() -> bool:
        return topics.meter not in await admin.list_topics()

    await until(gone, "the topic is deleted")
    await admin.close()
    await until(lambda: created(stack, topics), "the topic is recreated")
    await produce(stack, topics.meter, [BROKEN, *meters(51, 60)], partition=1)

    consumer = group.start()
    assert "recreated" in (await consumer.until_logged("partition_halted"))["gap"]
    gaps = [each for each in await partition_statuses(operator) if each["gap"]]
    assert [(each["partition"], each["stored"], each["beginning"], each["end"]) for each in gaps] == [(1, 50, 0, 10)]
    assert "Continue?" in await operator.fail("offsets", "accept-gap", topics.meter, "1", stdin="n\n")
    assert (
        await database.value("SELECT next_offset FROM kafka_offsets WHERE topic = $1 AND partition = 1", topics.meter)
        == 50
    )

    await operator.succeed("offsets", "accept-gap", topics.meter, "1", "--yes")
    await until_consumed(database, topics.meter, 60)
    await consumer.until_ready()
    assert (await ledger(database, topics))[topics.meter] == Entry(60, 58, 0, 2)
    assert [row[0] for row in await database.fetch("SELECT incarnation FROM dead_letters ORDER BY 1")] == [0, 1]
    decided = await database.fetch("SELECT from_offset, to_offset, decided_by FROM offset_decisions")
    assert [tuple(row) for row in decided] == [(50, 0, "migrator")]
    assert "has no gap" in await operator.fail("offsets", "accept-gap", topics.meter, "1", "--yes")


async def created(stack: Servers, topics: Topics) -> bool:
    """Try to create the topic: its deletion continues for a moment after the topic is no longer listed."""
    try:
        await create_topics(stack.kafka_bootstrap_servers, [topics.meter], partitions=topics.partitions)
    except Exception:  # noqa: BLE001 - repeated until it succeeds
        return False
    return True


async def test_unread_records_deleted_by_kafka_are_reported_and_skipped_only_by_an_operator(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup, operator: Command
) -> None:
    first = group.start()
    await produce(stack, topics.meter, meters(0, 20), partition=0)
    await until_consumed(database, topics.meter, 20)
    group.stop(first)
    await produce(stack, topics.meter, meters(20, 50), partition=0)
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap_servers)
    await admin.start()
    await admin.delete_records({TopicPartition(topics.meter, 0): RecordsToDelete(before_offset=30)})
    await admin.close()

    consumer = group.start()
    assert "records 20 to 29 were deleted" in (await consumer.until_logged("partition_halted"))["gap"]
    assert "records 20 to 29 were deleted" in (await operator.succeed("offsets", "show"))[0]
    await operator.succeed("offsets", "accept-gap", topics.meter, "0", "--yes")
    await until_consumed(database, topics.meter, 40)
    await consumer.until_ready()
    assert (await ledger(database, topics))[topics.meter] == Entry(40, 40, 0, 0)


async def test_a_reset_fails_while_a_consumer_holds_the_partition_and_counts_duplicates_afterwards(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup, operator: Command
) -> None:
    consumer = group.start()
    await produce(stack, topics.meter, meters(0, 30), partition=2)
    await until_consumed(database, topics.meter, 30)
    message = await operator.fail("offsets", "reset", topics.meter, "2", "--to", "beginning", "--yes")
    assert "stop the consumers first" in message
    group.stop(consumer)
    await until(lambda: _no_partition_is_held(operator), "the consumer has left the group or its session has expired")

    assert "not in the log" in await operator.fail("offsets", "reset", topics.meter, "2", "--to", "31", "--yes")
    assert "found 'noon'" in await operator.fail("offsets", "reset", topics.meter, "2", "--to", "noon", "--yes")
    assert "has never read" in await operator.fail("offsets", "reset", "other", "0", "--to", "0", "--yes")
    _, output = await operator.succeed("offsets", "reset", topics.meter, "2", "--to", "10", "--yes")
    assert "0 records are skipped" in output
    assert "20 are read again" in output
    group.start()
    await until_consumed(database, topics.meter, 50)
    assert (await ledger(database, topics))[topics.meter] == Entry(50, 30, 20, 0)


async def _no_partition_is_held(operator: Command) -> bool:
    return not any(each["held_by"] for each in await partition_statuses(operator))


async def insert_letters_of_two_logs(database: Database, consumer_group: str, topic: str) -> None:
    """At offset 5 one of each log; at offset 6 one that was stored without content."""
    place = f"'{consumer_group}', '{topic}', 0"
    await database.execute(
        'INSERT INTO dead_letters (consumer_group, topic, partition, "offset", incarnation, value, reason, detail) VALUES '
        f"({place}, 5, 0, 'of the old log', 'invalid_json', 'x'), ({place}, 5, 1, 'of the new log', 'invalid_json', 'x'), "
        f"({place}, 6, 0, NULL, 'too_large', 'the value has 99999999 bytes; key, value and timestamp are not stored')"
    )


async def test_dead_letters_of_two_logs_at_one_offset_are_told_apart(
    database: Database, topics: Topics, operator: Command
) -> None:
    await insert_letters_of_two_logs(database, operator.environment["KAFKA_GROUP_ID"], topics.meter)

    table, _ = await operator.succeed("dead-letters", "list")
    assert sorted(line.split()[:4] for line in table.splitlines() if f"{topics.meter}  0 " in line) == [
        [topics.meter, "0", "5", "0"],
        [topics.meter, "0", "5", "1"],
        [topics.meter, "0", "6", "0"],
    ]
    newest, note = await operator.succeed("dead-letters", "show", topics.meter, "0", "5")
    assert json.loads(newest)["value"] == "of the new log"
    assert "--incarnation 0" in note
    oldest, _ = await operator.succeed("dead-letters", "show", topics.meter, "0", "5", "--incarnation", "0")
    assert json.loads(oldest)["value"] == "of the old log"
    assert "no dead letter of incarnation 2 at offset 5" in await operator.fail(
        "dead-letters", "show", topics.meter, "0", "5", "--incarnation", "2"
    )


async def test_a_dead_letter_without_content_keeps_its_reason_when_it_is_replayed(
    database: Database, topics: Topics, operator: Command
) -> None:
    await insert_letters_of_two_logs(database, operator.environment["KAFKA_GROUP_ID"], topics.meter)

    _, output = await operator.succeed("dead-letters", "replay", "--yes")
    assert "1 dead letters are left as they are" in output
    assert "written: 0, duplicates: 0, still rejected: 2" in output
    assert "nothing was changed" in await operator.fail("dead-letters", "replay", "--reason", "too_large", "--yes")
    kept = await database.fetch('SELECT reason, detail FROM dead_letters WHERE "offset" = 6')
    assert [(row["reason"], row["detail"][:28]) for row in kept] == [("too_large", "the value has 99999999 bytes")]


async def test_dead_letters_are_listed_replayed_exactly_once_and_discarded(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup, operator: Command
) -> None:
    ahead = datetime.now(UTC) + timedelta(minutes=10)
    early = meter("METER-early", ahead)
    values = [*meters(0, 10), early, early, BROKEN, b"\xff\x00", meter("METER-0", minute(0), kwh=0.9)]
    consumer = group.start()
    await produce(stack, topics.meter, values, partition=0)
    await until_consumed(database, topics.meter, 15)
    assert (await ledger(database, topics))[topics.meter] == Entry(15, 10, 0, 5)

    listed = [json.loads(line) for line in (await operator.succeed("dead-letters", "list", "--json"))[0].splitlines()]
    assert [(each["offset"], each["reason"]) for each in listed] == [
        (10, Reason.TIMESTAMP_IN_FUTURE), (11, Reason.TIMESTAMP_IN_FUTURE), (12, Reason.MISSING_FIELD),
        (13, Reason.INVALID_JSON), (14, Reason.CONFLICTING_READING),
    ]  # fmt: skip
    assert "conflicting_reading" in (await operator.succeed("dead-letters", "list"))[0]
    shown = json.loads((await operator.succeed("dead-letters", "show", topics.meter, "0", "13"))[0])
    assert shown["value"] == "ff 00"

    await move_into_limits(database, ahead, minute(77))
    _, output = await operator.succeed("dead-letters", "replay", "--topic", topics.meter, "--yes")
    assert "written: 1, duplicates: 1, still rejected: 3" in output
    assert (await ledger(database, topics))[topics.meter] == Entry(15, 11, 1, 3)
    live = await database.value("SELECT recorded_at FROM meter_live_status WHERE meter_id = 'METER-early'")
    assert live == minute(77)
    _, output = await operator.succeed("dead-letters", "replay", "--yes")
    assert "written: 0, duplicates: 0, still rejected: 3" in output

    _, output = await operator.succeed("dead-letters", "discard", "--reason", Reason.MISSING_FIELD, "--yes")
    assert "dead letters discarded: 1" in output
    assert (await ledger(database, topics))[topics.meter] == Entry(15, 11, 1, 3)
    await expire_resolved(database)
    await maintain(operator, database)
    assert await database.value("SELECT count(*) FROM dead_letters") == 2
    assert (await ledger(database, topics))[topics.meter] == Entry(15, 11, 1, 3)
    assert "no unresolved dead letter" in await operator.fail(
        "dead-letters", "discard", "--reason", "empty_value", "--yes"
    )
    assert consumer.process.poll() is None


async def move_into_limits(database: Database, ahead: datetime, to: datetime) -> None:
    """Replace the timestamp of the dead letters from the future, as if their time had come."""
    await database.execute(
        "UPDATE dead_letters SET value = convert_to(replace(convert_from(value, 'UTF8'), "
        f"'{ahead.isoformat()}', '{to.isoformat()}'), 'UTF8') WHERE reason = 'timestamp_in_future'"
    )


async def expire_resolved(database: Database) -> None:
    await database.execute(
        "UPDATE dead_letters SET resolved_at = now() - interval '91 days' WHERE resolved_at IS NOT NULL"
    )


async def maintain(operator: Command, database: Database) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sql", "maintain", "--once", env=operator.environment, cwd=ROOT
    )
    assert await process.wait() == 0


async def test_commands_report_a_missing_privilege_and_an_unreachable_database(
    environment: dict[str, str], database: Database, operator: Command
) -> None:
    operator.environment.update({"DATABASE_URL": database.writer_url})
    assert "owner of the schema" in await operator.fail("dead-letters", "list")
    operator.environment.update({"DATABASE_URL": "postgresql://nobody:secret-word@127.0.0.1:1/energy"})
    message = await operator.fail("breaker", "show")
    assert "does not respond" in message
    assert "secret-word" not in message
