"""Attributes of a record besides its value: whatever a producer sets, the record is accounted for and holds up no other."""

import time
from datetime import UTC, datetime
from functools import partial

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import InvalidTimestampError
from aiokafka.producer import message_accumulator, producer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from deploy.stack.servers import Servers
from tests.support.database import Database, locked_tables, waits_for_lock
from tests.support.ledger import Entry, Topics, ledger, until_consumed
from tests.support.records import meter, minute
from tests.support.services import ConsumerGroup
from tests.support.waiting import until

pytestmark = pytest.mark.anyio
YEAR_0, YEAR_1, YEAR_2 = -62_167_219_200_000, -62_135_596_800_000, -62_104_060_800_000
YEAR_9999, YEAR_10000 = 253_402_300_799_999, 253_402_300_800_000
LARGEST = 2**63 - 1


async def accept_all_timestamps(stack: Servers, topic: str) -> None:
    """Configures a topic as brokers before Kafka 4.0 configure every topic."""
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap_servers)
    await admin.start()
    try:
        limits = {"message.timestamp.after.max.ms": str(LARGEST), "message.timestamp.before.max.ms": str(LARGEST)}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, limits)])
    finally:
        await admin.close()


async def produce(stack: Servers, topic: str, values: list[tuple[bytes, int | None]]) -> None:
    """Produces values with these Kafka timestamps (ms) to partition 0, in requests of their own."""
    async with AIOKafkaProducer(bootstrap_servers=stack.kafka_bootstrap_servers, acks="all") as producer:
        for value, timestamp in values:
            await until(partial(is_accepted, producer, topic, value, timestamp), "the broker accepts all timestamps")


async def is_accepted(producer: AIOKafkaProducer, topic: str, value: bytes, timestamp: int | None) -> bool:
    """Sends a record; False while the broker does not know the topic's new configuration yet."""
    try:
        await producer.send_and_wait(topic, value, partition=0, timestamp_ms=timestamp)
    except InvalidTimestampError:
        return False
    return True


async def test_a_rejected_record_is_stored_whatever_its_kafka_timestamp_and_holds_up_no_other(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup
) -> None:
    await accept_all_timestamps(stack, topics.meter)
    microseconds = int(time.time() * 1e6)
    timestamps = [YEAR_0, YEAR_1, YEAR_2, -1, 0, YEAR_9999, YEAR_10000, microseconds]
    await produce(stack, topics.meter, [(b"malformed", each) for each in timestamps] + [(meter(), None)])
    consumer = group.start()
    await until_consumed(database, topics.meter, 9)

    assert (await ledger(database, topics))[topics.meter] == Entry(9, 1, 0, 8)
    letters = await database.fetch('SELECT kafka_timestamp FROM dead_letters ORDER BY "offset"')
    assert [row["kafka_timestamp"] for row in letters] == [
        None,
        None,
        datetime(2, 1, 1, tzinfo=UTC),
        None,
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999_000, UTC),
        None,
        None,
    ]
    assert not consumer.events("write_retried")


async def test_timestamps_that_cannot_be_right_are_not_observed_as_freshness(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup
) -> None:
    await accept_all_timestamps(stack, topics.meter)
    values = [(meter(at=minute(number)), each) for number, each in enumerate([-1, int(time.time()), YEAR_10000])]
    consumer = group.start()
    await consumer.until_ready()
    for number, value in enumerate(values, 1):  # one by one, so that each is the oldest of its batch
        await produce(stack, topics.meter, [value])
        await until_consumed(database, topics.meter, number)
    await produce(stack, topics.meter, [(meter(at=minute(9)), None)])

    async def observed() -> bool:
        return await consumer.metric("energy_freshness_seconds_count") > 0

    await until(observed, "the freshness of the last record is observed")
    assert await consumer.metric("energy_freshness_seconds_count") == 1
    assert await consumer.metric("energy_freshness_seconds_sum") < 3600


@pytest.mark.parametrize("timestamp", [-1, 1_700_000_000, YEAR_10000], ids=["none", "in seconds", "in the future"])
async def test_the_lag_of_records_without_a_plausible_timestamp_counts_from_when_they_were_first_seen(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup, timestamp: int
) -> None:
    await accept_all_timestamps(stack, topics.meter)
    consumer = group.start()
    await consumer.until_ready()
    async with locked_tables(database):
        await produce(stack, topics.meter, [(meter(), timestamp)])
        await until(lambda: waits_for_lock(database), "the record is being written")

        async def behind() -> bool:
            return await consumer.metric("energy_consumer_lag_seconds", topic=topics.meter) > 1

        await until(behind, "the lag grows while the record is not written")
        assert await consumer.metric("energy_consumer_lag_seconds", topic=topics.meter) < 3600
        assert await consumer.metric("energy_consumer_lag_records", topic=topics.meter) == 1


class NotUtf8(str):
    """The name of a header as producers in other languages may send it."""

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return b"\xff\xfe"


async def test_keys_values_and_headers_of_any_kind_are_accounted_for_and_hold_up_no_other_record(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (message_accumulator, producer):
        monkeypatch.setattr(module, "DefaultRecordBatchBuilder", _DefaultRecordBatchBuilderPy)
    odd = [
        (b"key", None, []),
        (b"", b"", []),
        (b"\0", b"\0", [("", None)]),
        (b"\xff" * 500_000, b"malformed", [("name", b"\xff")]),
        (None, b"malformed", [(NotUtf8("x"), b"x")] * 3),
        (b"key", b"x" * 900_000, []),
    ]
    async with AIOKafkaProducer(
        bootstrap_servers=stack.kafka_bootstrap_servers, acks="all", max_request_size=2_000_000
    ) as sending:
        for number, (key, value, headers) in enumerate(odd):
            await sending.send_and_wait(topics.meter, value, key, partition=0, headers=headers)
            good = meter(at=minute(number))
            await sending.send_and_wait(topics.meter, good, partition=0, headers=[(NotUtf8("x"), None)])
    consumer = group.start()
    await until_consumed(database, topics.meter, 12)

    assert (await ledger(database, topics))[topics.meter] == Entry(12, 6, 0, 6)
    letters = await database.fetch('SELECT key, value FROM dead_letters ORDER BY "offset"')
    assert [(row["key"], row["value"]) for row in letters] == [(key, value) for key, value, _ in odd]
    assert consumer.process.poll() is None
