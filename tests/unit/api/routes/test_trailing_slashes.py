"""No response sends a client to another address: behind a proxy, an absolute one would lose the scheme and the prefix."""

import httpx
import pytest
from fastapi import FastAPI

from api.app import create_app, create_gateway
from api.settings import ApiSettings, GatewaySettings

pytestmark = pytest.mark.anyio
PROXIED = {"Host": "energy.example.com", "X-Forwarded-Proto": "https", "Authorization": "Bearer KEY"}


@pytest.mark.parametrize(
    "app", [create_app(ApiSettings(api_open=True)), create_gateway(GatewaySettings(api_open=True))]
)
async def test_a_path_with_a_slash_at_its_end_is_unknown(app: FastAPI) -> None:
    paths = app.openapi()["paths"]
    transport = httpx.ASGITransport(app, client=("192.0.2.7", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://energy.example.com", headers=PROXIED) as client:
        for path, operations in paths.items():
            for method in operations:
                answer = await client.request(method, path.format(vehicleId="V", meterId="M") + "/")
                assert (answer.status_code, answer.headers.get("location")) == (404, None), path
    assert "/v1/ingestion/meter" in paths
