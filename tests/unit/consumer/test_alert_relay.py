"""The alert relay against failures: those of Kafka and the database, and those of our own code."""

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
