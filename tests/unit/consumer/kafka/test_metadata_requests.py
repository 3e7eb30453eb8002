"""The limit on metadata requests, on a virtual clock."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from consumer.kafka import metadata_requests
from consumer.kafka.metadata_requests import INTERVAL_SECONDS, limit_metadata_requests

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that only sleeping moves."""
    clock = SimpleNamespace(now=1000.0)

    async def sleep(seconds: float) -> None:
        clock.now += seconds

    monkeypatch.setattr(metadata_requests, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(metadata_requests, "asyncio", SimpleNamespace(sleep=sleep, Lock=asyncio.Lock))
    return clock


async def test_requests_in_quick_succession_wait_for_the_interval(clock: SimpleNamespace) -> None:
    sent: list[tuple[float, Any]] = []

    async def request(cluster: str, topics: str) -> bool:
        sent.append((clock.now, (cluster, topics)))
        return True

    client: Any = SimpleNamespace(_client=SimpleNamespace(_metadata_update=request))
    limit_metadata_requests(client)
    assert [await client._client._metadata_update("cluster", "topics") for _ in range(3)] == [True] * 3
    assert sent == [(1000.0 + number * INTERVAL_SECONDS, ("cluster", "topics")) for number in range(3)]
    clock.now += 10
    await client._client._metadata_update("cluster", "topics")
    assert sent[-1][0] == clock.now, "after a pause, a request is not delayed"
