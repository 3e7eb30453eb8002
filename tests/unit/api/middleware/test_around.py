"""The application guards itself, whoever serves it; and says what became of every request."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from api.app import create_app, create_gateway
from api.auth.api_keys import Scope
from api.settings import ApiSettings, GatewaySettings
from tests.support.key_file import KeyFile
from tests.support.responses import problem

pytestmark = pytest.mark.anyio
METER = "/v1/ingestion/meter"


def client(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://here")


def measured(app: FastAPI, status: int) -> float:
    labels = {"method": "POST", "route": METER, "status": str(status)}
    return app.state.metrics.registry.get_sample_value("energy_http_request_duration_seconds_count", labels) or 0.0


async def test_the_application_alone_asks_for_a_key(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "keys.json")
    keys.add(Scope.READ)
    async with client(create_app(ApiSettings(api_keys_file=keys.path))) as asks:
        answer = await asks.get("/v1/vehicles")
    assert answer.status_code == 401
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")


async def test_what_breaks_on_the_short_way_is_a_problem_like_any_other() -> None:
    app = create_gateway(GatewaySettings(api_open=True))
    app.state.gateway = object()  # whatever it is asked, it breaks
    async with client(app) as asks:
        answer = await asks.post(METER, content=b"{}")
    assert problem(answer, 500)["detail"].startswith("the error was logged")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert measured(app, 500) == 1


async def test_who_leaves_before_the_answer_is_no_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_gateway(GatewaySettings(api_open=True))
    monkeypatch.setattr(app.state.gateway, "check", lambda: None)

    async def left() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def hear(message: Any) -> None:
        raise AssertionError(message)

    scope = {"type": "http", "method": "POST", "path": METER, "headers": [], "query_string": b"", "state": {}}
    await app(scope, left, hear)
    assert (measured(app, 499), measured(app, 500)) == (1, 0)
