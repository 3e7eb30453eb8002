"""Devices of a region: each sends a reading a minute, keeps it until Kafka acknowledges it, and may change to another region."""

import asyncio
from collections import defaultdict
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from tests.support.records import meter, vehicle

DEVICES: Final = 20  # of each kind
PAUSE_SECONDS: Final = 0.2  # between two minutes
Reading = tuple[str, datetime]


class Devices:
    """Meters and vehicles named after their region.

    `acknowledged` has the identity of every reading that Kafka has accepted, by the bootstrap servers of that Kafka.
    """

    def __init__(self, region: str, topics: tuple[str, str], start: datetime) -> None:
        self._region = region
        self._topics = topics
        self._at = start
        self._unacknowledged: dict[Reading, tuple[str, bytes]] = {}
        self._servers = ""
        self._producer: Any = None
        self._sending: asyncio.Task[None] | None = None
        self.acknowledged: defaultdict[str, set[Reading]] = defaultdict(set)

    async def send_to(self, bootstrap_servers: str) -> None:
        """From now on, send to these brokers, beginning with what no broker has acknowledged."""
        await self.stop()
        self._servers = bootstrap_servers
        self._producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap_servers,
            acks="all",
            enable_idempotence=True,
            linger_ms=5,
            request_timeout_ms=3000,
        )
        await self._producer.start()
        self._sending = asyncio.create_task(self._send(), name=f"devices-{self._region}")

    async def stop(self) -> None:
        """Send nothing more; what is not acknowledged by then is kept."""
        if self._sending:
            self._sending.cancel()
            await asyncio.wait({self._sending})
            self._sending = None
        if self._producer:
            with suppress(KafkaError, TimeoutError):
                await asyncio.wait_for(self._producer.stop(), 5)
            self._producer = None

    async def finish(self) -> None:
        """Stop when everything that was sent is acknowledged."""
        assert self._sending
        self._sending.cancel()
        await asyncio.wait({self._sending})
        self._sending = None
        await self._send_unacknowledged()
        await self._producer.flush()
        await self.stop()
        assert not self._unacknowledged, f"{len(self._unacknowledged)} readings were not acknowledged"

    async def _send(self) -> None:
        while True:
            self._at += timedelta(minutes=1)
            for number in range(DEVICES):
                kwh = self._at.minute % 7 / 10
                names = f"METER-{self._region}-{number}", f"VEH-{self._region}-{number}"
                values = meter(names[0], self._at, kwh), vehicle(names[1], self._at, kwh / 2)
                for topic, name, value in zip(self._topics, names, values, strict=True):
                    self._unacknowledged[name, self._at] = topic, value
            await self._send_unacknowledged()
            await asyncio.sleep(PAUSE_SECONDS)

    async def _send_unacknowledged(self) -> None:
        """A reading that is on its way already is sent twice, as a device does that misses an acknowledgement."""
        for reading, (topic, value) in list(self._unacknowledged.items()):
            sent = await self._producer.send(topic, value, reading[0].encode())
            sent.add_done_callback(partial(self._acknowledge, reading, self._servers))

    def _acknowledge(self, reading: Reading, servers: str, future: "asyncio.Future[Any]") -> None:
        if not future.cancelled() and future.exception() is None:
            self.acknowledged[servers].add(reading)
            self._unacknowledged.pop(reading, None)
