"""The middleware of the application, as it works without our server: access, security headers, request metrics, HEAD."""

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


def measured(app: FastAPI, status: int, *, method: str = "POST", route: str = METER) -> float:
    labels = {"method": method, "route": route, "status": str(status)}
    return app.state.metrics.registry.get_sample_value("energy_http_request_duration_seconds_count", labels) or 0.0


async def test_the_application_needs_a_key_without_help_of_the_server(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "keys.json")
    keys.add(Scope.READ)
    async with client(create_app(ApiSettings(api_keys_file=keys.path))) as asks:
        answer = await asks.get("/v1/vehicles")
    assert answer.status_code == 401
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")


async def test_an_unexpected_error_on_the_fast_path_is_answered_with_a_problem() -> None:
    app = create_gateway(GatewaySettings(api_open=True))
    app.state.producer = object()  # every call of a method raises
    async with client(app) as asks:
        answer = await asks.post(METER, content=b"{}")
    assert problem(answer, 500)["detail"].startswith("the error was logged")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert measured(app, 500) == 1


async def test_a_client_that_disconnects_before_the_response_is_measured_as_499(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = create_gateway(GatewaySettings(api_open=True))
    monkeypatch.setattr(app.state.producer, "check", lambda: None)

    async def disconnected() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def fail(message: Any) -> None:
        raise AssertionError(message)

    scope = {"type": "http", "method": "POST", "path": METER, "headers": [], "query_string": b"", "state": {}}
    await app(scope, disconnected, fail)
    assert (measured(app, 499), measured(app, 500)) == (1, 0)


async def test_head_is_answered_like_get_on_open_routes_and_refused_elsewhere() -> None:
    app = create_gateway(GatewaySettings(api_open=True))
    async with client(app) as asks:
        for path in ("/healthz", "/readyz", "/docs", "/openapi.json", "/metrics"):
            get, head = await asks.get(path), await asks.head(path)
            assert head.status_code == get.status_code, path
            if path != "/metrics":  # the request before has changed them
                assert head.headers == get.headers, path
        for path in ("/v1/access", "/docs/start.js"):
            assert (await asks.head(path)).status_code == 405, path
    assert measured(app, 200, method="HEAD", route="/healthz") == 1
    assert set(app.openapi()["paths"]["/healthz"]) == {"get"}
