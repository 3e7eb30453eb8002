"""A fleet under which faults happen: it produces all the time and keeps a journal of what Kafka has acknowledged."""

import asyncio
import time
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from tests.support.ledger import Topics
from tests.support.records import meter, vehicle

DEVICES: Final = 50
CATCHES_UP_SECONDS: Final = 60.0  # of what Kafka could not take while away: devices keep readings, and send them later
BEGINNING: Final = timedelta(days=300)


class Acknowledged(NamedTuple):
    """A record that Kafka has promised to keep."""

    partition: TopicPartition
    offset: int
    value: bytes


class Load:
    """`journal` holds what was acknowledged, `ends` the offset after the last of it in each partition, `begins` is when
    the first reading is of.
    """

    def __init__(self, bootstrap_servers: str, topics: Topics) -> None:
        self._servers = bootstrap_servers
        self._topics = topics
        self.begins = datetime.now(UTC).replace(second=0, microsecond=0) - BEGINNING
        self._minute = 0
        self._producer: Any = None
        self._running: asyncio.Task[None] | None = None
        self.journal: list[Acknowledged] = []
        self.ends: defaultdict[TopicPartition, int] = defaultdict(int)

    async def start(self) -> None:
        """Connect; nothing is sent yet."""
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._servers,
            acks="all",
            enable_idempotence=True,
            linger_ms=5,
            request_timeout_ms=120_000,  # longer than any outage here: what is not promised in time is tried again
            metadata_max_age_ms=5_000,
        )
        await self._producer.start()

    def keep_sending(self, records_a_second: float = 1000) -> None:
        """A minute of all devices, again and again, until `settle`."""
        pause = 2 * DEVICES / records_a_second
        self._running = asyncio.create_task(self._keep_sending(pause), name="load")

    async def send(self, minutes: int) -> None:
        """The next minutes of all devices, at once."""
        for _ in range(minutes):
            at = self.begins + timedelta(minutes=self._minute)
            kwh = (self._minute % 97) / 97
            self._minute += 1
            for device in range(DEVICES):
                await self.send_value(self._topics.meter, meter(f"METER-{device}", at, kwh), f"METER-{device}")
                await self.send_value(self._topics.vehicle, vehicle(f"VEH-{device}", at, kwh), f"VEH-{device}")

    async def send_value(self, topic: str, value: bytes, key: str) -> None:
        """One record; it is in the journal once Kafka has acknowledged it."""
        future = await self._producer.send(topic, value, key.encode())
        future.add_done_callback(partial(self._acknowledge, value))

    async def send_again(self, records: list[Acknowledged]) -> None:
        """What a device does that missed the acknowledgement: the same values once more."""
        for record in records:
            future = await self._producer.send(
                record.partition.topic, record.value, b"again", partition=record.partition.partition
            )
            future.add_done_callback(partial(self._acknowledge, record.value))

    async def settle(self) -> None:
        """Stop sending and wait until everything sent is acknowledged."""
        if self._running and not self._running.done():
            self._running.cancel()
            await asyncio.wait({self._running})
            self._running = None
        await self.acknowledged()

    async def acknowledged(self) -> None:
        """Wait until everything that was sent is acknowledged; not while more is being sent all the time."""
        if self._running is None:
            await self._producer.flush()
        elif self._running.done():
            self._running.result()  # it ends only with an error
            raise RuntimeError("the load has stopped")

    async def stop(self) -> None:
        """Disconnect."""
        if self._running:
            self._running.cancel()
        if self._producer:
            await self._producer.stop()

    async def _keep_sending(self, pause: float) -> None:
        due = time.monotonic()
        while True:
            await self.send(1)
            due = max(due + pause, time.monotonic() - CATCHES_UP_SECONDS)
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    def _acknowledge(self, value: bytes, future: "asyncio.Future[Any]") -> None:
        if future.cancelled() or isinstance(future.exception(), KafkaError):
            return  # not promised; if it is in the log all the same, the oracle finds it there
        sent = future.result()
        partition = TopicPartition(sent.topic, sent.partition)
        self.journal.append(Acknowledged(partition, sent.offset, value))
        self.ends[partition] = max(self.ends[partition], sent.offset + 1)
