"""Readings that are sent to Kafka while the commands of a recipe are executed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka import AIOKafkaProducer

from deploy.stack.servers import Servers
from tests.support.records import minute, vehicle

READINGS_A_SECOND: Final = 50


class Sender:
    """Sends readings of one vehicle after another until `stopping` is set; `sent` were acknowledged."""

    def __init__(self, producer: Any, topic: str) -> None:
        self._producer = producer
        self._topic = topic
        self.sent = 0
        self.stopping = False

    def reached(self, number: int) -> Callable[[], Awaitable[bool]]:
        """A condition: that many readings were sent."""

        async def is_reached() -> bool:
            return self.sent >= number

        return is_reached

    async def run(self) -> None:
        while not self.stopping:
            value = vehicle(f"VEH-{self.sent % 20:03}", minute(self.sent // 20))
            await self._producer.send_and_wait(self._topic, value, key=f"VEH-{self.sent % 20:03}".encode())
            self.sent += 1
            await asyncio.sleep(1 / READINGS_A_SECOND)


@asynccontextmanager
async def flowing_readings(servers: Servers, topic: str) -> AsyncIterator[Sender]:
    producer = AIOKafkaProducer(bootstrap_servers=servers.kafka_bootstrap_servers, acks="all", enable_idempotence=True)
    await producer.start()
    sender = Sender(producer, topic)
    sending = asyncio.create_task(sender.run())
    try:
        yield sender
    finally:
        sender.stopping = True
        await sending
        await producer.stop()
