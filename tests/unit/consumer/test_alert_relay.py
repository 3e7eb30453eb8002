"""The alert relay against failures of Kafka and the database, errors of our own code, and a database that went back."""

import asyncio
from typing import Any

import pytest
from aiokafka.errors import KafkaError
from structlog.testing import capture_logs

from consumer import alert_relay
from consumer.alert_relay import AlertRelay
from consumer.monitoring.metrics import Metrics
from consumer.settings import ConsumerSettings

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("error", "event"),
    [
        (KafkaError(), "alert_relay_blocked"),
        (ConnectionResetError(), "alert_relay_blocked"),
        (KeyError("value"), "alert_relay_failed"),
        (TypeError(), "alert_relay_failed"),
    ],
)
async def test_an_error_of_our_own_code_is_not_reported_as_one_of_kafka_or_the_database(
    monkeypatch: pytest.MonkeyPatch, error: Exception, event: str
) -> None:
    relay = AlertRelay(None, ConsumerSettings(), Metrics())  # type: ignore[arg-type]
    failed, attempts = asyncio.Event(), 0

    async def count_waiting() -> int:
        nonlocal attempts
        attempts += 1
        if attempts > 2:
            failed.set()
            await asyncio.Event().wait()
        raise error

    monkeypatch.setattr(relay, "_count_waiting", count_waiting)
    monkeypatch.setattr(alert_relay, "CHECK_SECONDS", 0.0)
    monkeypatch.setattr(alert_relay, "FAILED_CHECK_SECONDS", 0.0)
    with capture_logs() as logs:
        running: asyncio.Task[Any] = asyncio.create_task(relay.run())
        await asyncio.wait_for(failed.wait(), 30)
        running.cancel()
        await asyncio.wait({running})
    assert {each["event"] for each in logs} == {event}


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
