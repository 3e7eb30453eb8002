"""Load on Kafka: devices that send readings, and a journal of every record that Kafka has acknowledged."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from tests.faults.messages import Message, mixture
from tests.faults.oracle.log import Acknowledged, TopicNames
from tests.support.records import meter, vehicle

DEVICES: Final = 50
MAX_BACKLOG_SECONDS: Final = 60.0  # devices keep what Kafka could not accept during an outage, and send it afterwards
AGE_OF_FIRST_READING: Final = timedelta(
    days=11
)  # what a scenario sends must end before now, and every day of it must be rows


class Load:
    """Sends a mixture of records, and readings of DEVICES meters and as many vehicles; each minute has the next timestamp.

    `journal` holds every acknowledged record, `end_offsets` the offset after the last of them in each partition, `start_time` the
    timestamp of the first readings.
    """

    def __init__(self, bootstrap_servers: str, topics: TopicNames) -> None:
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
            max_request_size=4_194_304,
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
        """Send the next minutes of the first `devices` meters and vehicles, and the mixture unless there are fewer than all."""
        for _ in range(minutes):
            minute, at = self._minute, self.start_time + timedelta(minutes=self._minute)
            self._minute += 1
            for device in range(devices):
                step = minute + 3 * device
                name, kwh, voltage = f"METER-{device}", step % 97 / 97, 220 + step % 41 / 2
                await self.send_value(self._topics.meter, meter(name, at, kwh, voltage=voltage), name)
                name, changes = f"VEH-{device}", {"soc": step % 101, "batteryTemp": 10 + step % 37 / 4}
                await self.send_value(self._topics.vehicle, vehicle(name, at, kwh / 2, **changes), name)
            if devices == DEVICES:
                await self.send_messages(mixture(minute, at, datetime.now(UTC)))

    def skip_to_minute(self, of_day: int) -> None:
        """Leave out all minutes up to this one of a day, which is counted from its midnight."""
        begin = self.start_time.hour * 60 + self.start_time.minute
        self._minute += (of_day - begin - self._minute) % (24 * 60)

    async def send_messages(self, messages: Iterable[Message]) -> None:
        for each in messages:
            topic: str = getattr(self._topics, each.topic)
            await self.send_value(topic, each.value, each.key, each.partition)

    async def send_value(
        self,
        topic: str,
        value: bytes | None,
        key: str,
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> None:
        """Send one record; it enters the journal when Kafka acknowledges it.

        Without a partition the key chooses one. `timestamp_ms` is Kafka's timestamp, in ms since 1970; by default that of now.
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

    def _acknowledge(self, value: bytes | None, future: "asyncio.Future[Any]") -> None:
        if future.cancelled() or isinstance(future.exception(), KafkaError):
            return  # Kafka has promised nothing; the oracle finds the record in the log if it was appended after all
        sent = future.result()
        self.record(Acknowledged(TopicPartition(sent.topic, sent.partition), sent.offset, value))
