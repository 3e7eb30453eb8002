"""Records that wait in Kafka: a fleet's readings in the order of time, clean or with the faults that are asked for."""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Final

import uvloop

from deploy.simulator.anomalies import AnomalyInjector, AnomalyShares
from deploy.simulator.fleet import Fleet
from deploy.simulator.producer import ReadingProducer
from deploy.simulator.readings import Record, milliseconds
from deploy.simulator.timetable import due, timetable
from deploy.stack.topics import create_topics
from schemas.config.settings import KafkaSettings
from tests.bench.ground import Ground
from tests.support.ledger import Topics

VEHICLES: Final = 10_000  # and as many meters
PARTITIONS: Final = 8
MINUTE: Final = timedelta(minutes=1)
CLEAN: Final = AnomalyShares()
_numbers: Final = count(1)


@dataclass(frozen=True, slots=True)
class Backlog:
    """`readings` are those to be stored; `duplicates` and `malformed` wait beside them. `opens` is the first minute."""

    topics: Topics
    devices: int
    opens: datetime
    minutes: int
    readings: int
    duplicates: int = 0
    malformed: int = 0

    @property
    def records(self) -> int:
        """All that is to be consumed."""
        return self.readings + self.duplicates + self.malformed

    @property
    def last_minute(self) -> datetime:
        """Every device has a reading at or after it."""
        return self.opens + (self.minutes - 1) * MINUTE


def fill(ground: Ground, minutes: int, *, partitions: int = PARTITIONS, shares: AnomalyShares = CLEAN) -> Backlog:
    """Send so many past minutes of the whole fleet to topics of their own; the last of them ends now."""
    name = f"bench-{os.getpid()}-{next(_numbers)}"
    topics = Topics(f"{name}-meter", f"{name}-vehicle", partitions)
    return uvloop.run(_fill(ground, topics, minutes, shares))


def kafka_settings(ground: Ground, topics: Topics) -> KafkaSettings:
    """Where these topics are."""
    return KafkaSettings(
        kafka_bootstrap_servers=ground.stack.kafka_bootstrap_servers,
        kafka_meter_topic=topics.meter,
        kafka_vehicle_topic=topics.vehicle,
    )


async def _fill(ground: Ground, topics: Topics, minutes: int, shares: AnomalyShares) -> Backlog:
    await create_topics(
        ground.stack.kafka_bootstrap_servers, (topics.meter, topics.vehicle), partitions=topics.partitions
    )
    producer = ReadingProducer(kafka_settings(ground, topics), ground.say)
    await producer.start()
    opens = datetime.now(UTC).replace(second=0, microsecond=0) - minutes * MINUTE
    mischief = AnomalyInjector(shares, seed=1)
    for done, records in enumerate(_minutes(opens, minutes), 1):
        await producer.send(mischief.apply(records))
        if done % max(10, minutes // 10) == 0:
            ground.say(f"{done * 2 * VEHICLES:,} of {minutes * 2 * VEHICLES:,} readings produced")
        await asyncio.sleep(0)
    await producer.send(mischief.drain())
    await producer.stop(120)
    made = Backlog(
        topics,
        VEHICLES,
        opens,
        minutes,
        readings=2 * VEHICLES * minutes,
        duplicates=mischief.counts.duplicates,
        malformed=mischief.counts.malformed,
    )
    if producer.counts.acknowledged != made.records:
        raise RuntimeError(f"{producer.counts.acknowledged} of {made.records} records were acknowledged")
    return made


def _minutes(opens: datetime, minutes: int) -> Iterator[Iterator[Record]]:
    table = timetable(Fleet(VEHICLES))
    for minute in range(minutes):
        start = opens + minute * MINUTE
        yield due(table, milliseconds(start), milliseconds(start + MINUTE))
