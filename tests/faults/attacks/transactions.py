"""Attacks by transactional producers: commits, aborts, a transaction that hangs, a log that ends in markers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from aiokafka import AIOKafkaProducer, TopicPartition

from tests.faults.attacks.kafka import delete_records
from tests.faults.oracle.log import Acknowledged
from tests.faults.testbed import Testbed
from tests.support.records import meter
from tests.support.waiting import until

READINGS: Final = 20
BEHIND: Final = 50  # readings behind the open transaction


async def mix_transactions(testbed: Testbed, number: int) -> None:
    """Transactions are committed and aborted, one hangs with readings behind it, and retention leaves a log that is empty."""
    if not testbed.running:
        testbed.start()
    partition = TopicPartition(testbed.topics.meter, number % testbed.topics.partitions)
    await testbed.load.send(1)
    async with _producer(testbed) as producer:
        for each in range(6):
            await _send(testbed, producer, partition, minute=10 * number + each, abort=each % 2 == 1)
    await testbed.until_caught_up()
    await _hang(testbed, partition, number)
    await _remove_all(testbed, partition)


async def _hang(testbed: Testbed, partition: TopicPartition, number: int) -> None:
    """Readings wait behind a transaction that hangs, and count as lag, until its producer is replaced."""
    async with _producer(testbed) as hanging:
        await hanging.begin_transaction()
        await hanging.send_and_wait(partition.topic, meter("METER-hanging"), partition=partition.partition)
        for each in range(BEHIND):
            value = meter(f"METER-behind-{number}-{each}")
            await testbed.load.send_value(partition.topic, value, "any", partition=partition.partition)
        await testbed.load.until_acknowledged()

        (consumer,) = testbed.running
        labels = {"topic": partition.topic, "partition": str(partition.partition)}

        async def is_reported() -> bool:
            lag = await consumer.metric("energy_consumer_lag_records", **labels)
            return lag >= BEHIND and await consumer.metric("energy_consumer_open_transaction_seconds", **labels) > 0

        await until(is_reported, "the readings behind the open transaction count as lag")
        async with _producer(testbed) as successor:  # it aborts the transaction of its predecessor
            await _send(testbed, successor, partition, minute=10 * number + 9, abort=False)
    await testbed.until_caught_up()


async def _remove_all(testbed: Testbed, partition: TopicPartition) -> None:
    """Retention removes all records, which were read, and the marker behind them; consumers start and do not halt."""
    await testbed.stop_all()
    log = await testbed.read_log()
    testbed.changes.consumed += [each for each in log if TopicPartition(each.topic, each.partition) == partition]
    await delete_records(testbed, partition, -1)
    (consumer,) = testbed.start()
    await testbed.load.send(1)
    await testbed.until_caught_up()
    assert not consumer.events("partition_halted"), "nothing was removed unread"


async def _send(
    testbed: Testbed, producer: AIOKafkaProducer, partition: TopicPartition, *, minute: int, abort: bool
) -> None:
    values = [
        meter(f"METER-tx-{each}", testbed.load.start_time + timedelta(minutes=minute)) for each in range(READINGS)
    ]
    await producer.begin_transaction()
    sent = [await producer.send_and_wait(partition.topic, each, partition=partition.partition) for each in values]
    if abort:
        await producer.abort_transaction()
        return
    await producer.commit_transaction()
    for record, value in zip(sent, values, strict=True):
        testbed.load.record(Acknowledged(partition, record.offset, value))


@asynccontextmanager
async def _producer(testbed: Testbed) -> AsyncIterator[AIOKafkaProducer]:
    """A producer with the transactional id of this testbed's gateway: a new one fences the one before."""
    producer = AIOKafkaProducer(
        bootstrap_servers=testbed.stack.kafka_bootstrap_servers,
        transactional_id=f"gateway-{testbed.topics.meter}",
        transaction_timeout_ms=600_000,
    )
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()
