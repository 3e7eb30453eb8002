"""Load on Kafka: devices that send readings, and a journal of every record that Kafka has acknowledged."""

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
MAX_BACKLOG_SECONDS: Final = 60.0  # devices keep what Kafka could not accept during an outage, and send it afterwards
AGE_OF_FIRST_READING: Final = timedelta(days=300)


class Acknowledged(NamedTuple):
    """A record that Kafka has acknowledged with `acks=all`."""

    partition: TopicPartition
    offset: int
    value: bytes


class Load:
    """Sends readings of DEVICES meters and as many vehicles; each minute has the next minute's timestamp.

    `journal` holds every acknowledged record, `end_offsets` the offset after the last of them in each partition, `start_time` the
    timestamp of the first readings.
    """

    def __init__(self, bootstrap_servers: str, topics: Topics) -> None:
        self._servers = bootstrap_servers
        self._topics = topics
        self.start_time = datetime.now(UTC).replace(second=0, microsecond=0) - AGE_OF_FIRST_READING
        self._minute = 0
        self._producer: Any = None
        self._sending: asyncio.Task[None] | None = None
        self.journal: list[Acknowledged] = []
        self.end_offsets: defaultdict[TopicPartition, int] = defaultdict(int)

    async def connect(self) -> None:
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._servers,
            acks="all",
            enable_idempotence=True,
            linger_ms=5,
            request_timeout_ms=120_000,  # longer than any outage here, so that requests are retried until they are acknowledged
            metadata_max_age_ms=5_000,
        )
        await self._producer.start()

    async def disconnect(self) -> None:
        if self._sending:
            self._sending.cancel()
        if self._producer:
            await self._producer.stop()

    def send_continuously(self, records_per_second: float = 1000, *, devices: int = DEVICES) -> None:
        """Send at this rate in the background until stop_sending(); readings of the first `devices` of each kind only."""
        pause = 2 * devices / records_per_second
        self._sending = asyncio.create_task(self._send_continuously(pause, devices), name="load")

    async def send(self, minutes: int, *, devices: int = DEVICES) -> None:
        """Send the next minutes of the first `devices` meters and vehicles without a pause."""
        for _ in range(minutes):
            at = self.start_time + timedelta(minutes=self._minute)
            kwh = (self._minute % 97) / 97
            self._minute += 1
            for device in range(devices):
                await self.send_value(self._topics.meter, meter(f"METER-{device}", at, kwh), f"METER-{device}")
                await self.send_value(self._topics.vehicle, vehicle(f"VEH-{device}", at, kwh), f"VEH-{device}")

    async def send_value(
        self, topic: str, value: bytes, key: str, *, partition: int | None = None, timestamp_ms: int | None = None
    ) -> None:
        """Send one record; it enters the journal when Kafka acknowledges it.

        Without a partition the key chooses one, and without a timestamp (of the record, in ms since 1970) it is that of now.
        """
        future = await self._producer.send(topic, value, key.encode(), partition=partition, timestamp_ms=timestamp_ms)
        future.add_done_callback(partial(self._acknowledge, value))

    def record(self, sent: Acknowledged) -> None:
        """Enter a record into the journal that Kafka has acknowledged."""
        self.journal.append(sent)
        self.end_offsets[sent.partition] = max(self.end_offsets[sent.partition], sent.offset + 1)

    async def resend(self, records: list[Acknowledged]) -> None:
        """Send the same values to the same partitions again, as a device does that missed the acknowledgement."""
        for record in records:
            future = await self._producer.send(
                record.partition.topic, record.value, b"again", partition=record.partition.partition
            )
            future.add_done_callback(partial(self._acknowledge, record.value))

    async def stop_sending(self) -> None:
        """Stop sending and wait until every record is acknowledged."""
        if self._sending and not self._sending.done():
            self._sending.cancel()
            await asyncio.wait({self._sending})
            self._sending = None
        await self.until_acknowledged()

    async def flush(self) -> None:
        """Wait until every record sent so far is acknowledged."""
        await self._producer.flush()

    async def until_acknowledged(self) -> None:
        """Wait until every record is acknowledged; returns at once while the load is sending continuously.

        Raises:
            RuntimeError: the continuous load has ended.
        """
        if self._sending is None:
            await self.flush()
        elif self._sending.done():
            self._sending.result()  # raises the error that ended it
            raise RuntimeError("the load has stopped")

    async def _send_continuously(self, pause: float, devices: int) -> None:
        due = time.monotonic()
        while True:
            await self.send(1, devices=devices)
            due = max(due + pause, time.monotonic() - MAX_BACKLOG_SECONDS)
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    def _acknowledge(self, value: bytes, future: "asyncio.Future[Any]") -> None:
        if future.cancelled() or isinstance(future.exception(), KafkaError):
            return  # Kafka has promised nothing; the oracle finds the record in the log if it was appended after all
        sent = future.result()
        self.record(Acknowledged(TopicPartition(sent.topic, sent.partition), sent.offset, value))
