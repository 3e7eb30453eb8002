"""Folding and retention are tried again while a table or a writer is in the way, however long they have worked before."""

import time
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
from pydantic import SecretStr

from sql.maintenance import scheduler
from sql.settings import MaintainSettings

pytestmark = pytest.mark.anyio
SETTINGS = MaintainSettings(database_url=SecretStr("postgresql://unused"))


class Work:
    """Takes a thousand seconds, and meets a lock at the end of the first attempt."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = time.monotonic
        self.seconds_left: list[float | None] = []
        for module in (time, scheduler):
            monkeypatch.setattr(module, "monotonic", lambda: clock() + 1000 * len(self.seconds_left))

    async def __call__(self, *_: Any, seconds: float | None = None, **__: Any) -> list[str]:
        self.seconds_left.append(seconds)
        if len(self.seconds_left) == 1:
            raise asyncpg.LockNotAvailableError
        return []


async def nothing(*_: Any) -> list[str]:
    return []


async def test_folding(monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work(monkeypatch)
    monkeypatch.setattr(scheduler, "narrow_partitions", nothing)
    monkeypatch.setattr(scheduler, "fold_days", work)
    await scheduler.TASKS["folding"](None, datetime.now(UTC), SETTINGS)
    whole = scheduler.FOLDING_SECONDS
    assert work.seconds_left == [pytest.approx(whole, abs=60), pytest.approx(whole - 1000, abs=60)]


async def test_retention(monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work(monkeypatch)
    monkeypatch.setattr(scheduler, "expired_months", nothing)
    monkeypatch.setattr(scheduler, "drop_expired_months", work)
    await scheduler.TASKS["retention"](None, datetime.now(UTC), SETTINGS)
    assert len(work.seconds_left) == 2
