"""Freshness: the time from producing a reading to the first query that finds it, measured with a meter of our own."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg
from aiokafka import AIOKafkaProducer

from deploy.simulator.readings import encode
from schemas.records.readings import MeterReading
from tests.bench.setup.backlog import kafka_settings
from tests.bench.setup.harness import Harness
from tests.support.database import Database
from tests.support.ledger import Topics
from tests.support.waiting import until

MAX_PAUSE_SECONDS: Final = 0.05  # longer than a write takes, so that probes arrive at every point of one
POLL_SECONDS: Final = 0.002
PROBE: Final = "PROBE-1"
IS_STORED: Final = "SELECT true FROM meter_live_status WHERE meter_id = $1 AND recorded_at >= $2"


@dataclass(frozen=True, slots=True)
class Probe:
    """Sends one reading and polls the database until it is there."""

    producer: Any
    connection: Any
    topic: str

    async def seconds_until_stored(self) -> float:
        """Seconds from producing one reading to the first query that finds it."""
        now = datetime.now(UTC)
        reading = MeterReading(meter_id=PROBE, timestamp=now, kwh_consumed_ac=0.1, voltage=230.0)
        started = time.perf_counter()
        await self.producer.send(self.topic, encode(reading), key=PROBE.encode())

        async def is_stored() -> bool:
            return bool(await self.connection.fetchval(IS_STORED, PROBE, now))

        await until(is_stored, "the probe can be queried", every=POLL_SECONDS)
        return time.perf_counter() - started


@asynccontextmanager
async def connected_probe(harness: Harness, database: Database, topics: Topics) -> AsyncIterator[Probe]:
    """A probe whose first reading, which connects it, is stored."""
    producer = AIOKafkaProducer(**kafka_settings(harness, topics).client_options(), acks="all", linger_ms=0)
    connection = await asyncpg.connect(database.reader_url)
    await producer.start()
    try:
        probe = Probe(producer, connection, topics.meter)
        await probe.seconds_until_stored()
        yield probe
    finally:
        await connection.close()
        await producer.stop()
