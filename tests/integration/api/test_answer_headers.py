"""Security headers of every response, and access from other origins."""

import re
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx
import pytest

from api.auth.api_keys import Scope
from deploy.stack.processes import Processes
from tests.support.database import Database
from tests.support.key_file import KeyFile, bearer
from tests.support.responses import StartApi
from tests.support.services import ingestion_service

pytestmark = pytest.mark.anyio
EVERYWHERE = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}
OTHER_ORIGIN = "https://dashboards.example"


def assert_protected(answer: httpx.Response) -> None:
    found = {name: answer.headers.get(name) for name in EVERYWHERE}
    assert found == EVERYWHERE, answer.url
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert len(answer.headers.get_list("content-security-policy")) == 1
    assert "uvicorn" not in answer.headers.get("server", "")


async def test_every_kind_of_response_has_the_security_headers(
    start_api: StartApi, database: Database, tmp_path: Path
) -> None:
    keys = KeyFile(tmp_path / "keys.json")
    key = bearer(keys.add(Scope.READ))
    client = start_api(**keys.settings, API_HSTS_SECONDS="600")
    answers = {
        401: client.get("/v1/vehicles"),
        200: client.get("/v1/vehicles", headers=key),
        404: client.get("/v1/vehicles/NOBODY", headers=key),
        405: client.put("/v1/vehicles", headers=key),
        422: client.get("/v1/vehicles", params={"limit": 0}, headers=key),
    }
    for path in ("/", "/assets/main.js", "/docs", "/healthz", "/metrics"):
        assert_protected(client.get(path))
    assert client.get("/assets/main.js").headers["cache-control"] == "no-cache"
    # last: the server closes the connection after an unexpected error
    await database.execute("ALTER TABLE vehicle_live_status RENAME COLUMN soc TO charge")
    answers[500] = client.get("/v1/vehicles", headers=key)
    for code, answer in answers.items():
        assert answer.status_code == code
        assert_protected(answer)
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'; frame-ancestors")
        assert answer.headers["strict-transport-security"] == "max-age=600; includeSubDomains"


def test_the_documentation_of_both_applications_loads_nothing_from_other_servers(
    start_api: StartApi, processes: Processes, environment: dict[str, str], tmp_path: Path
) -> None:
    with ingestion_service(processes, environment, tmp_path) as gateway:
        for client in (start_api(), gateway):
            page = client.get("/docs")
            assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
            policy = page.headers["content-security-policy"]
            assert "http" not in policy
            assert "script-src 'self';" in policy
            links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
            assert len(links) == 5
            for link in links:
                assert client.get(urljoin("/docs", link)).status_code == 200, link
            for no_file in ("index.html", "redoc.standalone.js", "main.js", "..%2fapp.py"):
                assert client.get(f"/docs/{no_file}").status_code == 404, no_file


@pytest.mark.parametrize("form", ["json", "console"])
async def test_a_traceback_shows_no_key_and_no_password(
    start_api: StartApi, database: Database, tmp_path: Path, form: str
) -> None:
    keys = KeyFile(tmp_path / "keys.json")
    key = keys.add(Scope.READ)
    client = start_api(**keys.settings, LOG_FORMAT=form)
    await database.execute("ALTER TABLE vehicle_live_status RENAME COLUMN soc TO charge")
    assert client.get("/v1/vehicles", headers=bearer(key)).status_code == 500
    log = (tmp_path / "api.log").read_text()
    assert "request_failed" in log
    assert "Traceback" in log
    for secret in (key, urlsplit(database.reader_url).password):
        assert secret
        assert secret not in log


def test_head_is_answered_on_open_routes(start_api: StartApi) -> None:
    client = start_api()
    for path in ("/", "/healthz", "/metrics"):
        answer = client.head(path)
        assert (answer.status_code, answer.content) == (200, b""), path
        assert int(answer.headers["content-length"]) > 0
        assert_protected(answer)
    assert client.head("/v1/stream").status_code == 405, "a stream has no end"
    assert client.get("/healthz").json()["status"] == "ok", "the connection is still usable"


def test_other_origins_have_no_access_by_default(start_api: StartApi) -> None:
    preflight = {"Origin": OTHER_ORIGIN, "Access-Control-Request-Method": "GET"}
    client = start_api()
    for answer in (
        client.options("/v1/vehicles", headers=preflight),
        client.get("/v1/vehicles", headers={"Origin": OTHER_ORIGIN}),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control-")]
        assert "strict-transport-security" not in answer.headers, "only where all access is over TLS"


def test_only_configured_origins_have_access(start_api: StartApi) -> None:
    client = start_api(CORS_ORIGINS=f"https://first.example:8443, {OTHER_ORIGIN}")
    configured = client.get("/v1/vehicles", headers={"Origin": OTHER_ORIGIN})
    assert configured.headers["access-control-allow-origin"] == OTHER_ORIGIN
    assert "access-control-allow-credentials" not in configured.headers
    preflight = {
        "Origin": OTHER_ORIGIN,
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization",
    }
    allowed = client.options("/v1/vehicles", headers=preflight)
    assert allowed.status_code == 200
    assert "authorization" in allowed.headers["access-control-allow-headers"].lower()
    assert_protected(allowed)
    for origin in ("https://evil.example", f"{OTHER_ORIGIN}.evil.example", "http://dashboards.example", "null"):
        assert "access-control-allow-origin" not in client.get("/v1/vehicles", headers={"Origin": origin}).headers
        assert client.options("/v1/vehicles", headers=preflight | {"Origin": origin}).status_code == 400
