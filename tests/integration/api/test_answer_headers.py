"""What browsers are told with every answer, good or bad, and who may ask from another site."""

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
ELSEWHERE = "https://dashboards.example"


def protected(answer: httpx.Response) -> None:
    told = {name: answer.headers.get(name) for name in EVERYWHERE}
    assert told == EVERYWHERE, answer.url
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert len(answer.headers.get_list("content-security-policy")) == 1
    assert "uvicorn" not in answer.headers.get("server", "")


async def test_every_kind_of_answer_is_protected(start_api: StartApi, database: Database, tmp_path: Path) -> None:
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
        protected(client.get(path))
    assert client.get("/assets/main.js").headers["cache-control"] == "no-cache"
    # last, for the server closes the connection after an error that it did not expect
    await database.execute("ALTER TABLE vehicle_live_status RENAME COLUMN soc TO charge")
    answers[500] = client.get("/v1/vehicles", headers=key)
    for code, answer in answers.items():
        assert answer.status_code == code
        protected(answer)
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'; frame-ancestors")
        assert answer.headers["strict-transport-security"] == "max-age=600; includeSubDomains"


def test_the_documents_need_nothing_from_elsewhere_of_either_service(
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
async def test_a_traceback_shows_neither_keys_nor_passwords(
    start_api: StartApi, database: Database, tmp_path: Path, form: str
) -> None:
    keys = KeyFile(tmp_path / "keys.json")
    key = keys.add(Scope.READ)
    client = start_api(**keys.settings, LOG_FORMAT=form)
    await database.execute("ALTER TABLE vehicle_live_status RENAME COLUMN soc TO charge")
    assert client.get("/v1/vehicles", headers=bearer(key)).status_code == 500
    told = (tmp_path / "api.log").read_text()
    assert "request_failed" in told
    assert "Traceback" in told
    for secret in (key, urlsplit(database.reader_url).password):
        assert secret
        assert secret not in told


def test_head_is_answered_where_probes_send_it(start_api: StartApi) -> None:
    client = start_api()
    for path in ("/", "/healthz", "/metrics"):
        answer = client.head(path)
        assert (answer.status_code, answer.content) == (200, b""), path
        assert int(answer.headers["content-length"]) > 0
        protected(answer)
    assert client.head("/v1/stream").status_code == 405, "it would never end"
    assert client.get("/healthz").json()["status"] == "ok", "the connection is good for more"


def test_other_sites_may_not_ask_unless_they_are_named(start_api: StartApi) -> None:
    preflight = {"Origin": ELSEWHERE, "Access-Control-Request-Method": "GET"}
    client = start_api()
    for answer in (
        client.options("/v1/vehicles", headers=preflight),
        client.get("/v1/vehicles", headers={"Origin": ELSEWHERE}),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control-")]
        assert "strict-transport-security" not in answer.headers, "only where all access is over TLS"


def test_a_site_that_is_named_may_ask_and_no_other(start_api: StartApi) -> None:
    client = start_api(CORS_ORIGINS=f"https://first.example:8443, {ELSEWHERE}")
    named = client.get("/v1/vehicles", headers={"Origin": ELSEWHERE})
    assert named.headers["access-control-allow-origin"] == ELSEWHERE
    assert "access-control-allow-credentials" not in named.headers
    preflight = {
        "Origin": ELSEWHERE,
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization",
    }
    allowed = client.options("/v1/vehicles", headers=preflight)
    assert allowed.status_code == 200
    assert "authorization" in allowed.headers["access-control-allow-headers"].lower()
    protected(allowed)
    for origin in ("https://evil.example", f"{ELSEWHERE}.evil.example", "http://dashboards.example", "null"):
        assert "access-control-allow-origin" not in client.get("/v1/vehicles", headers={"Origin": origin}).headers
        assert client.options("/v1/vehicles", headers=preflight | {"Origin": origin}).status_code == 400
