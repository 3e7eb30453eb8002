"""Access to every route with the right key, a wrong one and none, and changes of the keys while the API runs."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import iter_route_contexts
from prometheus_client.parser import text_string_to_metric_families

from api.app import create_app
from api.auth.access import OPEN, OPEN_BELOW, required_scope
from api.auth.api_keys import Scope
from api.settings import ApiSettings
from tests.support.key_file import KeyFile, bearer, id_of
from tests.support.records import meter, vehicle
from tests.support.responses import StartApi, body, problem
from tests.support.waiting import until

pytestmark = pytest.mark.anyio
APP = create_app(ApiSettings(api_open=True))
DOCUMENT: dict[str, Any] = APP.openapi()
OPERATIONS = [(method.upper(), path) for path, item in DOCUMENT["paths"].items() for method in item]
PROTECTED = [(method, path) for method, path in OPERATIONS if required_scope(path)]


@pytest.fixture
def keys(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "keys.json")


def status(client: httpx.Client, method: str, path: str, headers: dict[str, str] | None = None) -> int:
    """The status of a response whose end is not awaited: a stream has none."""
    url = re.sub(r"\{[^}]+\}", "VEH-1", path)
    content = b"" if method == "POST" else None
    with client.stream(method, url, headers=headers, content=content) as answer:
        return answer.status_code


def test_the_openapi_document_states_the_scope_of_every_route() -> None:
    assert len(PROTECTED) > 15
    for method, path in PROTECTED:
        operation = DOCUMENT["paths"][path][method.lower()]
        scope = "ingest" if "/ingestion/" in path else "read"
        assert operation["security"] == [{"bearer": [scope]}, {"apiKey": [scope]}], path
        assert {"401", "403"} <= operation["responses"].keys(), path
    assert {path for _, path in OPERATIONS} - {path for _, path in PROTECTED} == {"/healthz", "/readyz"}


def test_routes_outside_the_openapi_document_are_open_on_purpose_or_need_a_key() -> None:
    listed = {path for _, path in OPERATIONS}
    unlisted = {route.path for route in iter_route_contexts(APP.routes) if route.path} - listed
    assert unlisted <= OPEN | {f"{below}{{name}}" for below in OPEN_BELOW}
    assert {path for path in listed | unlisted if path.startswith("/v1")} == {path for _, path in PROTECTED}


def test_every_route_needs_a_key_with_its_scope(start_api: StartApi, keys: KeyFile) -> None:
    secrets = {scope: keys.add(scope) for scope in Scope}
    client = start_api(**keys.settings)
    for method, path in PROTECTED:
        required = required_scope(path)
        assert required
        other = Scope.READ if required is Scope.INGEST else Scope.INGEST
        assert status(client, method, path) == 401, path
        assert status(client, method, path, bearer("energy_" + "a" * 12 + "_" + "b" * 43)) == 401, path
        assert status(client, method, path, bearer(secrets[other])) == 403, path
        assert status(client, method, path, bearer(secrets[required])) not in {401, 403}, path
        assert status(client, method, path, {"X-API-Key": secrets[required]}) not in {401, 403}, path
    for path in ("/", "/healthz", "/readyz", "/metrics", "/docs", "/openapi.json", "/assets/main.js"):
        assert client.get(path).status_code == 200, path


async def test_a_rejection_states_its_reason_and_no_secret(start_api: StartApi, keys: KeyFile) -> None:
    reader, sender = keys.add(Scope.READ), keys.add(Scope.INGEST)
    expired = keys.add(Scope.READ, expires_in=timedelta(seconds=-1))
    client = start_api(**keys.settings)
    for headers, code, detail, challenge in (
        ({}, 401, "needs an API key", 'Bearer realm="energy"'),
        (bearer(reader[:-1] + "~"), 401, "not known", "invalid_token"),
        (bearer(expired), 401, "expired", "invalid_token"),
        (bearer(expired[:-1] + "~"), 401, "not known", "invalid_token"),
        ({"Authorization": "Basic dXNlcjpwYXNz"}, 401, "holds no API key", "invalid_request"),
        ({**bearer(reader), "X-API-Key": reader}, 401, "not several", "invalid_request"),
        (bearer(sender), 403, "lacks the scope read", 'scope="read"'),
    ):
        answer = client.get("/v1/vehicles", headers=headers)
        found = problem(answer, code)
        assert detail in found["detail"]
        assert challenge in answer.headers["www-authenticate"]
        assert not any(secret.split("_", 2)[2] in answer.text for secret in (reader, sender, expired))
    assert body(client.get("/v1/access", headers={"Authorization": f"bearer  {reader}"})) == {
        "open": False, "keyId": id_of(reader), "scopes": ["read"], "devices": None,
    }  # fmt: skip


def test_no_spelling_of_a_url_bypasses_the_keys(start_api: StartApi, keys: KeyFile) -> None:
    keys.add(Scope.READ)
    client = start_api(**keys.settings)
    for path in (
        "//v1/vehicles", "/V1/vehicles", "/v1/vehicles/", "/%761/vehicles", "/v1%2Fvehicles", "/v1/./vehicles",
        "/assets/../v1/vehicles", "/assets/%2e%2e/v1/vehicles", "/docs/../v1/vehicles", "/metrics/../v1/vehicles",
        "/assets/..%2f..%2fv1%2fvehicles", "/docs%2f..%2fv1/vehicles", "/v1/vehicles;/docs", "/v1/vehicles%00/docs",
    ):  # fmt: skip
        with client.stream("GET", httpx.URL(str(client.base_url), raw_path=path.encode())) as answer:
            assert answer.status_code in {401, 404}, path
    for header in ("X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Prefix"):
        assert client.get("/v1/vehicles", headers={header: "/docs"}).status_code == 401
    assert client.get("/v1/vehicles", headers={"X-HTTP-Method-Override": "OPTIONS"}).status_code == 401


async def test_a_key_with_device_prefixes_sends_readings_of_those_devices_only(
    start_api: StartApi, keys: KeyFile, topics: Any
) -> None:
    assert topics
    secret = keys.add(Scope.INGEST, devices=["METER-N", "VEH-N"])
    client = start_api(**keys.settings)

    async def accepted() -> bool:
        sent = client.post("/v1/ingestion/meter", content=meter("METER-N1"), headers=bearer(secret))
        return sent.status_code == 201

    await until(accepted, "the gateway is connected to Kafka")
    for kind, reading, code in (
        ("vehicle", vehicle("VEH-N1"), 201),
        ("vehicle", vehicle("VEH-S1"), 403),
        ("meter", meter("METER-S1"), 403),
        ("meter", meter("meter-N1"), 403),
        ("meter", meter("XMETER-N1"), 403),
    ):
        answer = client.post(f"/v1/ingestion/{kind}", content=reading, headers=bearer(secret))
        assert answer.status_code == code, answer.text
    assert "may not send readings of XMETER-N1" in answer.json()["detail"]


async def test_keys_are_created_and_revoked_while_the_api_runs(start_api: StartApi, keys: KeyFile) -> None:
    first = keys.add(Scope.READ)
    client = start_api(**keys.settings)
    assert status(client, "GET", "/v1/vehicles", bearer(first)) == 200

    async def until_answered(secret: str, code: int) -> None:
        async def answered() -> bool:
            return status(client, "GET", "/v1/vehicles", bearer(secret)) == code

        await until(answered, f"a key is answered with {code}", timeout=10)

    second = keys.succeed("rotate", id_of(first), "--overlap-hours", "1")
    await until_answered(second, 200)
    assert status(client, "GET", "/v1/vehicles", bearer(first)) == 200, "both keys are valid during the overlap"
    keys.succeed("revoke", id_of(first))
    await until_answered(first, 401)
    assert status(client, "GET", "/v1/vehicles", bearer(second)) == 200

    keys.path.write_text("{")

    async def broken() -> bool:
        return metric(client, "energy_api_keys_file_broken") == 1

    await until(broken, "the broken file is detected")
    assert metric(client, "energy_api_keys_reload_failures_total") >= 1
    assert status(client, "GET", "/v1/vehicles", bearer(second)) == 200, "the last good keys stay valid"
    assert metric(client, "energy_http_refused_total") > 0


def metric(client: httpx.Client, name: str) -> float:
    samples = _samples(client.get("/metrics").text)
    return sum(value for each, value in samples if each == name)


def _samples(text: str) -> Iterator[tuple[str, float]]:
    for family in text_string_to_metric_families(text):
        yield from ((sample.name, sample.value) for sample in family.samples)


def test_an_open_stream_ends_with_its_key(start_api: StartApi, keys: KeyFile) -> None:
    secret = keys.add(Scope.READ)
    client = start_api(**keys.settings)
    with client.stream("GET", "/v1/stream", headers=bearer(secret)) as answer:
        lines = answer.iter_lines()
        assert next(line for line in lines if line.startswith("event:")) == "event: fleet"
        keys.succeed("revoke", id_of(secret))
        assert sum(1 for line in lines if line.startswith("event:")) < 20, "the stream ends"


def test_no_key_appears_in_a_log_or_a_metric(start_api: StartApi, keys: KeyFile, tmp_path: Path) -> None:
    secret = keys.add(Scope.READ)
    client = start_api(**keys.settings)
    wrong = secret[:-4] + "~~~~"
    for headers in (
        bearer(secret),
        bearer(wrong),
        {"X-API-Key": secret},
        {"Authorization": secret},
        {"Cookie": secret},
    ):
        for path in ("/v1/vehicles", "/v1/vehicles?limit=x", "/v1/nothing", f"/v1/vehicles?api_key={secret}"):
            client.get(path, headers=headers)
            client.post(path, headers=headers, content=secret)
    shown = (tmp_path / "api.log").read_text() + client.get("/metrics").text
    assert id_of(secret) in shown, "the id may be shown"
    assert secret.split("_", 2)[2][:20] not in shown


def test_open_access_needs_no_key_and_ignores_a_wrong_one(start_api: StartApi) -> None:
    client = start_api()
    for headers in ({}, bearer("whatever")):
        assert body(client.get("/v1/access", headers=headers)) == {
            "open": True, "keyId": None, "scopes": ["ingest", "read"], "devices": None,
        }  # fmt: skip
        assert status(client, "POST", "/v1/ingestion/meter", headers) in {400, 503}  # 503 until Kafka has answered
