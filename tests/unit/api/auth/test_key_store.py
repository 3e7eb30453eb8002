"""The task that watches the key file survives errors that nobody expects."""

import asyncio
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from api.auth import key_store
from api.auth.key_store import KeyStore
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


async def test_the_key_file_is_watched_after_an_unexpected_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_store, "CHECK_EVERY_SECONDS", 0.0)
    registry = CollectorRegistry()
    store = KeyStore(None, registry)
    store._path = Path("keys")
    looks = 0

    def fail() -> None:
        nonlocal looks
        looks += 1
        raise TypeError("of our own code")

    monkeypatch.setattr(store, "reload_if_changed", fail)
    watching = asyncio.create_task(store.watch())

    async def looked_again() -> bool:
        return looks > 1

    await until(looked_again, "the file is looked at again")
    watching.cancel()
    assert (registry.get_sample_value("energy_api_keys_reload_failures_total") or 0) >= 1
