"""The answer to a request that finds the queue full."""

from typing import Any

import httpx
import pytest

from api.app import create_app
from api.archive.months import Archive
from api.cells.cells import Cell, Cells
from api.database.routing import ReadRouter, ReadSource
from api.fleet.shared_work import SharedWork
from api.settings import ApiSettings
from tests.support.responses import problem

pytestmark = pytest.mark.anyio


class ExhaustedPool:
    """A pool of one connection, which is in use."""

    async def acquire(self, timeout: float) -> Any:
        raise TimeoutError

    def get_max_size(self) -> int:
        return 1


def client(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here")


async def test_a_full_queue_is_answered_with_429() -> None:
    app = create_app(ApiSettings(api_open=True))
    app.state.fleet_evaluations = SharedWork[Any](running=0, queued=0)
    async with client(app) as asks:
        answer = await asks.get("/v1/fleet/summary?end=2026-02-09T15:30:00Z")
    assert "try again" in problem(answer, 429)["detail"]
    assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize("path", ["/v1/vehicles", "/v1/fleet/summary", "/v1/faults", "/v1/analytics/trend/VEH-1"])
async def test_an_exhausted_pool_is_answered_with_429_and_does_not_spill_to_the_primary(path: str) -> None:
    app = create_app(ApiSettings(api_open=True))
    replica = ReadSource("replica", "DATABASE_READ_URL", ExhaustedPool())
    replica._in_use.add(object())
    app.state.cells = Cells([Cell("", ReadRouter(replica, None, None, app.state.metrics.reads), Archive(None))])
    async with client(app) as asks:
        answer = await asks.get(path)
    assert "all 1 connections to the replica database are in use" in problem(answer, 429)["detail"]
    assert int(answer.headers["retry-after"]) > 0
