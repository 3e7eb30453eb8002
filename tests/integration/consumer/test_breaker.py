"""Circuit breakers that consumers share through one database: opened by rejected records or by errors of our own code."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from consumer.monitoring.health import Health
from consumer.monitoring.metrics import Metrics
from consumer.pipeline.breaker import Breaker
from consumer.settings import ConsumerSettings
from deploy.stack.servers import Servers
from deploy.stack.topics import create_topics
from sql.connection import WRITER_SETTINGS, pool
from sql.queries import queries
from tests.support.command import Command, consumer_command
from tests.support.database import Database
from tests.support.ledger import Entry, Topics, ledger, until_consumed
from tests.support.records import assignment, meter, minute
from tests.support.repository import ROOT
from tests.support.services import ConsumerGroup
from tests.support.waiting import until

pytestmark = pytest.mark.anyio
TOPIC = "meter-readings"
WINDOW = 100
RECORDS = 100
# Only for the claim, which has changed a row by then: rows that are tried one by one can be written.
WITHOUT_INSTANT = (
    "CREATE OR REPLACE FUNCTION hold_watermarks() RETURNS timestamptz[] LANGUAGE sql AS $$ SELECT CASE "
    "WHEN pg_current_xact_id_if_assigned() IS NULL THEN '{epoch,epoch}' ELSE '{NULL,NULL}' END::timestamptz[] $$"
)
FAILING_TOPIC = """
import os, pathlib
from consumer.records.batch import BatchBuilder
add = BatchBuilder.add
def failing(self, partition, *others):
    if pathlib.Path(os.environ["FAILING_TOPIC_FILE"]).read_text() == partition.topic:
        raise TypeError("planted")
    add(self, partition, *others)
BatchBuilder.add = failing
"""


@pytest.fixture
def breakers(connections: Any) -> tuple[Breaker, Breaker]:
    settings = ConsumerSettings(kafka_group_id="test", breaker_window_records=WINDOW)
    first, second = (Breaker(connections, settings, Metrics(CollectorRegistry()), Health()) for _ in range(2))
    return first, second


async def let_records_through(database: Database) -> None:
    async with pool(
        SecretStr(database.migrator_url), size=1, server_settings=WRITER_SETTINGS, command_timeout=30
    ) as opened:
        assert await queries.let_through(opened, consumer_group="test", topic=TOPIC)


async def sync(*breakers: Breaker) -> None:
    for breaker in breakers:
        await breaker.sync()


async def state(database: Database) -> str | None:
    found: str | None = await database.value("SELECT min(state) FROM topic_breakers WHERE topic = $1", TOPIC)
    return found


async def test_good_records_from_before_records_were_let_through_do_not_close_the_breaker(
    database: Database, breakers: tuple[Breaker, Breaker]
) -> None:
    broken, good = breakers
    assert not good.record(TOPIC, WINDOW, 0)
    assert broken.record(TOPIC, WINDOW, WINDOW)
    await sync(broken, good)
    assert TOPIC in good.stopped
    await let_records_through(database)

    await sync(broken, good, broken, good)

    assert await state(database) == "letting_through"
    assert not good.record(TOPIC, WINDOW, 0)
    await sync(good, broken)
    assert await state(database) is None, "a full window of good records since the operator let records through"


async def test_records_that_were_let_through_do_not_reopen_a_breaker_that_another_consumer_has_closed(
    database: Database, breakers: tuple[Breaker, Breaker]
) -> None:
    broken, good = breakers
    assert broken.record(TOPIC, WINDOW, WINDOW)
    await sync(broken, good)
    await let_records_through(database)
    await sync(broken, good)
    assert not broken.record(TOPIC, WINDOW, WINDOW), "records are let through"
    assert not good.record(TOPIC, WINDOW, 0)

    await sync(good, broken)

    assert not broken.record(TOPIC, 1, 0)
    assert broken.record(TOPIC, WINDOW, WINDOW), "the closed breaker opens on a full window of bad records"


async def test_a_breaker_whose_state_has_changed_since_the_last_sync_is_not_closed(
    database: Database, breakers: tuple[Breaker, Breaker]
) -> None:
    broken, good = breakers
    assert broken.record(TOPIC, WINDOW, WINDOW)
    await sync(broken)
    await let_records_through(database)
    await sync(good)
    assert not good.record(TOPIC, WINDOW, 0)
    await database.execute("UPDATE topic_breakers SET state = 'open', changed_at = now()")
    await sync(good)
    assert await state(database) == "open"

    await let_records_through(database)
    await sync(good)
    assert not good.record(TOPIC, WINDOW, 0)
    await let_records_through(database)
    await sync(good, good)
    assert await state(database) == "letting_through"


async def test_a_breaker_that_opens_is_published_without_waiting_for_the_interval(
    database: Database, breakers: tuple[Breaker, Breaker]
) -> None:
    broken, _ = breakers

    async def follow() -> None:
        await broken.wait(3600)
        await broken.sync()

    following = asyncio.create_task(follow())
    await asyncio.sleep(0)
    assert broken.record(TOPIC, WINDOW, WINDOW)

    await asyncio.wait_for(following, 30)

    assert await state(database) == "open"


@pytest.fixture
async def all_topics(stack: Servers, topics: Topics) -> Topics:
    await create_topics(stack.kafka_bootstrap_servers, [topics.assignment], partitions=topics.partitions)
    return topics


@pytest.fixture
def operator(environment: dict[str, str], database: Database) -> Command:
    return consumer_command(environment, database)


async def produce(stack: Servers, topic: str, *values: bytes) -> None:
    async with AIOKafkaProducer(bootstrap_servers=stack.kafka_bootstrap_servers, acks="all") as producer:
        for number, value in enumerate(values):
            await producer.send(topic, value, str(number).encode())


def meters() -> list[bytes]:
    return [meter(f"METER-{each % 10}", minute(each // 10)) for each in range(RECORDS)]


async def until_stopped(consumers: list[Any], topic: str) -> None:
    async def stopped() -> bool:
        return all(
            [
                f"{topic}: internal_error: TypeError" in (await each.blocked_by()).get("breaker_open", "")
                for each in consumers
            ]
        )

    await until(stopped, "all consumers have stopped the topic")


async def until_stopped_again(database: Database, operator: Command, topic: str, *options: str) -> None:
    before = await database.value("SELECT changed_at FROM topic_breakers WHERE topic = $1", topic)
    await operator.succeed("breaker", "close", topic, *options)

    async def open_again() -> bool:
        found = "SELECT bool_or(changed_at > $2 AND state = 'open') FROM topic_breakers WHERE topic = $1"
        return bool(await database.value(found, topic, before))

    await until(open_again, "the breaker is open again")


async def test_a_batch_that_our_own_code_cannot_write_stops_its_topic_alone(
    stack: Servers, database: Database, all_topics: Topics, group: ConsumerGroup, operator: Command
) -> None:
    """Without the watermarks, our code compares None with an instant."""
    consumers = [group.start() for _ in range(2)]
    for consumer in consumers:
        await consumer.until_ready()
    repaired = await database.value("SELECT pg_get_functiondef('hold_watermarks()'::regprocedure)")
    await database.execute(WITHOUT_INSTANT)
    await produce(stack, all_topics.meter, *meters())

    await until_stopped(consumers, all_topics.meter)
    await produce(stack, all_topics.assignment, assignment("VEH-1", "METER-1", minute(0)))
    await until_consumed(database, all_topics.assignment, 1)
    await until_stopped_again(database, operator, all_topics.meter)
    await until_stopped_again(database, operator, all_topics.meter, "--let-through")
    assert [each.process.poll() for each in consumers] == [None, None]
    assert not [each.events("write_retried") for each in consumers if each.events("write_retried")]
    assert (await ledger(database, all_topics))[all_topics.meter] == Entry(0, 0, 0, 0)

    await database.execute(repaired)
    await operator.succeed("breaker", "close", all_topics.meter)
    await until_consumed(database, all_topics.meter, RECORDS)
    assert (await ledger(database, all_topics))[all_topics.meter] == Entry(RECORDS, RECORDS, 0, 0)
    for consumer in consumers:
        await consumer.until_ready()


async def test_records_that_our_own_code_cannot_take_stop_their_topic_alone(
    stack: Servers, database: Database, all_topics: Topics, group: ConsumerGroup, operator: Command, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(FAILING_TOPIC)
    failing = tmp_path / "failing"
    failing.write_text(all_topics.meter)
    consumer = group.start(PYTHONPATH=f"{tmp_path}:{ROOT}", FAILING_TOPIC_FILE=str(failing))
    await consumer.until_ready()
    await produce(stack, all_topics.meter, *meters())

    await until_stopped([consumer], all_topics.meter)
    await produce(stack, all_topics.assignment, assignment("VEH-1", "METER-1", minute(0)))
    await until_consumed(database, all_topics.assignment, 1)

    failing.write_text("none")
    await operator.succeed("breaker", "close", all_topics.meter)
    await until_consumed(database, all_topics.meter, RECORDS)
    assert (await ledger(database, all_topics))[all_topics.meter] == Entry(RECORDS, RECORDS, 0, 0)


async def test_an_error_of_our_own_code_also_stops_a_topic_whose_records_are_let_through(
    database: Database, breakers: tuple[Breaker, Breaker]
) -> None:
    broken, other = breakers
    assert broken.record(TOPIC, WINDOW, WINDOW)
    await sync(broken)
    await let_records_through(database)
    await sync(broken, other)

    broken.stop(TOPIC, TypeError("\0 and \ud800 cannot be stored"))
    await sync(broken, other)

    assert await state(database) == "open"
    assert other.stopped == broken.stopped == {TOPIC: "internal_error: TypeError: \\0 and \\ud800 cannot be stored"}
