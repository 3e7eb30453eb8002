"""Attacks by single records: large ones, absurd timestamps, schemas of a registry that is away, and records that are read again
whatever became of them."""

import asyncio
import time
from collections import deque
from typing import Final

from schemas.records.readings import MeterReading
from tests.faults.attacks.topics import configure
from tests.faults.testbed import Testbed
from tests.support.database import locked_tables, waits_for_lock
from tests.support.formats.encoding import framed, own_schema
from tests.support.formats.registry import schema_registry
from tests.support.records import meter, minute
from tests.support.services import ConsumerProcess
from tests.support.topics import kafka_admin
from tests.support.waiting import until

MAX_LONG: Final = 2**63 - 1
YEAR_0_MS: Final = -62_167_219_200_000
YEAR_10000_MS: Final = 253_402_300_800_000
LARGE_BYTES: Final = 400_000
TOO_LARGE_BYTES: Final = 1_500_000
LARGE_RECORDS: Final = 250
MAX_GROWTH_MIB: Final = 60  # all of these records have 95 MiB
SAMPLES: Final = 20


async def accept_any_timestamp(testbed: Testbed) -> None:
    """Preparation: Kafka takes meter readings with any timestamp, as it did before version 4."""
    limits = {f"message.timestamp.{side}.max.ms": str(MAX_LONG) for side in ("before", "after")}
    async with kafka_admin(testbed.stack.kafka_bootstrap_servers) as client:
        await configure(client, testbed.topics.meter, limits)
    testbed.start()


async def send_absurd_timestamps(testbed: Testbed, number: int) -> None:
    """Readings and refused records have Kafka timestamps that no calendar has: each is stored, and none holds up the next."""
    in_microseconds = int(time.time() * 1e6)
    for each, timestamp in enumerate((YEAR_0_MS, -1, 0, YEAR_10000_MS, in_microseconds, MAX_LONG)):
        name = f"METER-{number}-{each}"
        for value in (meter(name), b"{}", b"not JSON", meter(name, minute(1))):
            await testbed.load.send_value(testbed.topics.meter, value, name, timestamp_ms=timestamp)
            await testbed.load.flush()
    await testbed.load.send(1)
    await testbed.until_caught_up()


async def accept_large_records(testbed: Testbed) -> None:
    """Preparation: Kafka takes meter readings that are larger than a consumer takes."""
    async with kafka_admin(testbed.stack.kafka_bootstrap_servers) as client:
        await configure(client, testbed.topics.meter, {"max.message.bytes": str(2 * TOO_LARGE_BYTES)})
    testbed.start()


async def send_large_records(testbed: Testbed, number: int) -> None:
    """Records of 400 kB, good, refused and too large ones, wait for the database: memory stays bounded."""
    await testbed.load.send(5)
    await testbed.until_caught_up()
    before = _memory_mib(testbed)
    padding = "x" * LARGE_BYTES
    async with locked_tables(testbed.database):
        for each in range(LARGE_RECORDS):
            name = f"METER-{number}-{each}"
            value = meter(name, raw=padding) if each % 5 else padding.encode()
            await testbed.load.send_value(testbed.topics.meter, value, name)
        too_large = meter("METER-LARGE", raw="x" * TOO_LARGE_BYTES)
        await testbed.load.send_value(testbed.topics.meter, too_large, "METER-LARGE")
        await testbed.load.until_acknowledged()
        await until(lambda: waits_for_lock(testbed.database), "a transaction is blocked")
        growth = round(await _steady_memory_mib(testbed) - before, 1)
    testbed.measurements["memory_growth_mib"] = max(growth, testbed.measurements.get("memory_growth_mib", 0.0))
    assert growth <= MAX_GROWTH_MIB, f"memory grew by {growth} MiB"
    await testbed.until_caught_up()


async def _steady_memory_mib(testbed: Testbed) -> float:
    """The memory of the consumers once it has stopped growing."""
    samples: deque[float] = deque(maxlen=SAMPLES)

    async def is_steady() -> bool:
        samples.append(_memory_mib(testbed))
        return len(samples) == SAMPLES and max(samples) - samples[0] < 1

    await until(is_steady, "the memory of the consumers is steady", every=0.1)
    return max(samples)


async def read_again(testbed: Testbed, number: int) -> None:
    """Stored offsets are moved back over readings, duplicates, conflicts, all kinds of dead letters and declarations."""
    if not testbed.running:
        testbed.start()
    await testbed.load.send(3)
    await testbed.until_caught_up()
    await testbed.stop_all()
    log, topics = await testbed.read_log(), testbed.topics
    moved = [(topics.meter, each) for each in range(topics.partitions)]
    moved += [(each, number % topics.partitions) for each in (topics.vehicle, topics.register)]
    moved.append((topics.assignment, 0))  # has all declarations
    resets = (("offsets", "reset", topic, str(each), "--to", "beginning", "--yes") for topic, each in moved)
    await asyncio.gather(*(testbed.operator.succeed(*each) for each in resets))
    testbed.changes.read_again += [each for each in log if (each.topic, each.partition) in moved]
    testbed.start()
    await testbed.load.send(1)
    await testbed.until_caught_up()


async def take_registry_away(testbed: Testbed, number: int) -> None:
    """The schema registry is away while records of a new schema arrive and a consumer is killed: those wait, others go on."""
    with schema_registry() as registry:
        own = own_schema("avro", MeterReading)
        registry.schemas = {1: own}
        settings = {"KAFKA_METER_FORMAT": "auto", "SCHEMA_REGISTRY_URL": registry.url}
        victim, other = testbed.start(2, **settings)
        testbed.load.send_continuously(500)
        await _send_avro(testbed, number, schema_id=1)
        await testbed.until_caught_up()

        registry.stop()
        registry.schemas[1 + number] = own
        await _send_avro(testbed, number, schema_id=1 + number)
        await testbed.load.until_acknowledged()
        await until(lambda: _waits_for_registry(other), "a consumer waits for the schema registry")
        await testbed.kill(victim)
        testbed.start(1, **settings)
        await testbed.load.send(2)
        await until(lambda: _waits_for_registry(testbed.running[-1]), "the new consumer waits for it, too")
        await testbed.load.stop_sending()
        registry.start()
        await testbed.until_caught_up()
        await testbed.stop_all()


async def _send_avro(testbed: Testbed, number: int, *, schema_id: int) -> None:
    """A reading to each partition."""
    encode = framed("avro", MeterReading, schema_id)
    for partition in range(testbed.topics.partitions):
        name = f"METER-avro-{number}-{schema_id}-{partition}"
        await testbed.load.send_value(testbed.topics.meter, encode(meter(name)), name, partition)


async def _waits_for_registry(consumer: ConsumerProcess) -> bool:
    return "schema_registry" in await consumer.blocked_by()


def _memory_mib(testbed: Testbed) -> float:
    return float(sum(each.process.memory_info().rss for each in testbed.running) / 2**20)
