"""The background task of the gateway's producer survives errors that nobody expects, and reports them."""

import asyncio
from typing import Any

import pytest

from api.ingestion import producer as module
from api.ingestion.producer import ReadingProducer
from api.settings import GatewaySettings
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


async def test_an_unexpected_error_is_reported_and_the_producer_connects_again(monkeypatch: pytest.MonkeyPatch) -> None:
    producer = ReadingProducer(GatewaySettings())
    attempts = 0
    again = asyncio.Event()

    async def connect() -> Any:
        nonlocal attempts
        attempts += 1
        if attempts > 1:
            await again.wait()
        raise AssertionError("of the client")

    monkeypatch.setattr(module, "RETRY_AFTER_FAILURE_SECONDS", 0.0)
    monkeypatch.setattr(producer, "_connect", connect)
    producer.start()

    async def retried() -> bool:
        return attempts == 2

    await until(retried, "it connects again")
    assert "of the client" in (producer.waiting_for() or "")
    await producer.stop()
