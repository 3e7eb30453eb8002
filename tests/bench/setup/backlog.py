"""A backlog in Kafka: readings of a fleet in the order of time, clean or with duplicates, late and malformed records."""

import asyncio
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from typing import Final

import uvloop

from deploy.simulator.anomalies import AnomalyInjector, AnomalyShares
from deploy.simulator.fleet import Fleet
from deploy.simulator.producer import ReadingProducer
from deploy.simulator.readings import Record, milliseconds
from deploy.simulator.timetable import due, timetable
from deploy.stack.topics import create_topics
from schemas.config.settings import KafkaSettings
from schemas.tracing.tracer import NO_TRACER, Tracer
from tests.bench.setup.harness import Harness
from tests.support.ledger import Topics

VEHICLES: Final = 10_000  # and as many meters
PARTITIONS: Final = 8
MINUTE: Final = timedelta(minutes=1)
CLEAN: Final = AnomalyShares()
_numbers: Final = count(1)


@dataclass(frozen=True, slots=True)
class Backlog:
    """`readings` must be stored; `duplicates` and `malformed` records lie between them. `start` is the first minute."""

    topics: Topics
    vehicles: int
    start: datetime
    minutes: int
    readings: int
    duplicates: int = 0
    malformed: int = 0

    @property
    def records(self) -> int:
        """Number of records to consume."""
        return self.readings + self.duplicates + self.malformed

    @property
    def last_minute(self) -> datetime:
        """Start of the last minute, in which every device has a reading."""
        return self.start + (self.minutes - 1) * MINUTE


def _unchanged(record: Record) -> Record:
    return record


def produce_backlog(
    harness: Harness,
    minutes: int,
    *,
    vehicles: int = VEHICLES,
    partitions: int = PARTITIONS,
    shares: AnomalyShares = CLEAN,
    encode: Callable[[Record], Record] = _unchanged,
    tracer: Tracer = NO_TRACER,
    portion: int | None = None,
) -> Backlog:
    """Produce the given number of minutes of the fleet to new topics; the last minute is the one before now.

    Each record is sent as `encode` returns it. The records of a minute, or of each `portion` of it, have one trace context.
    """
    topics = new_topics(harness, partitions)
    return uvloop.run(_produce(harness, topics, minutes, vehicles, shares, encode, tracer, portion))


def new_topics(harness: Harness, partitions: int = PARTITIONS) -> Topics:
    """New, empty topics."""
    name = f"bench-{os.getpid()}-{next(_numbers)}"
    topics = Topics(f"{name}-meter", f"{name}-vehicle", partitions)
    servers = harness.stack.kafka_bootstrap_servers
    asyncio.run(create_topics(servers, (topics.meter, topics.vehicle), partitions=partitions))
    return topics


def kafka_settings(harness: Harness, topics: Topics) -> KafkaSettings:
    return KafkaSettings(
        kafka_bootstrap_servers=harness.stack.kafka_bootstrap_servers,
        kafka_meter_topic=topics.meter,
        kafka_vehicle_topic=topics.vehicle,
    )


async def _produce(
    harness: Harness,
    topics: Topics,
    minutes: int,
    vehicles: int,
    shares: AnomalyShares,
    encode: Callable[[Record], Record],
    tracer: Tracer,
    portion: int | None,
) -> Backlog:
    producer = ReadingProducer(kafka_settings(harness, topics), harness.log_progress, tracer=tracer)
    await producer.start()
    start = datetime.now(UTC).replace(second=0, microsecond=0) - minutes * MINUTE
    misbehaviour = AnomalyInjector(shares, seed=1)
    for done, records in enumerate(_records_by_minute(start, minutes, vehicles), 1):
        sent = map(encode, misbehaviour.apply(records))
        while part := list(islice(sent, portion)):
            await producer.send(part)
        if done % max(10, minutes // 10) == 0:
            harness.log_progress(f"{done * 2 * vehicles:,} of {minutes * 2 * vehicles:,} readings produced")
        await asyncio.sleep(0)
    await producer.send(map(encode, misbehaviour.drain()))
    await producer.stop(120)
    backlog = Backlog(
        topics,
        vehicles,
        start,
        minutes,
        readings=2 * vehicles * minutes,
        duplicates=misbehaviour.counts.duplicates,
        malformed=misbehaviour.counts.malformed,
    )
    if producer.counts.acknowledged != backlog.records:
        raise RuntimeError(f"{producer.counts.acknowledged} of {backlog.records} records were acknowledged")
    return backlog


def _records_by_minute(start: datetime, minutes: int, vehicles: int) -> Iterator[Iterator[Record]]:
    table = timetable(Fleet(vehicles))
    for number in range(minutes):
        minute = start + number * MINUTE
        yield due(table, milliseconds(minute), milliseconds(minute + MINUTE))
