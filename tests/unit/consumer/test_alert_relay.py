"""The alert relay: which event an acknowledgement that is still awaited belongs to."""

import asyncio
from typing import Any

import pytest

from consumer.alert_relay import AlertRelay
from consumer.monitoring.metrics import Metrics
from consumer.settings import ConsumerSettings

pytestmark = pytest.mark.anyio


class Producer:
    """Keeps what is sent; nothing is acknowledged until the test does it."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.acknowledgements: list[asyncio.Future[None]] = []

    async def send(self, _: str, value: bytes, key: bytes) -> asyncio.Future[None]:
        self.sent.append(value)
        self.acknowledgements.append(asyncio.get_running_loop().create_future())
        return self.acknowledgements[-1]


async def time_out(relay: AlertRelay, alert: dict[str, Any]) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await relay._send(alert)


async def test_a_restored_database_that_gives_the_number_to_another_event_does_not_lose_it() -> None:
    settings = ConsumerSettings(kafka_bootstrap_servers="-", database_url="postgresql://writer@db/energy")
    relay, producer = AlertRelay(None, settings, Metrics()), Producer()  # type: ignore[arg-type]
    relay._producer = producer
    first, other = ({"event_id": 7, "key": "VEH-1", "value": value} for value in ("first", "other"))
    await time_out(relay, first)
    await time_out(relay, first)
    assert producer.sent == [b"first"], "it is still in flight"
    await time_out(relay, other)
    assert producer.sent == [b"first", b"other"]
