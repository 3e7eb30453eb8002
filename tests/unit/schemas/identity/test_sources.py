"""Tokens from an endpoint, a file and AWS, and what each says when it gives none."""

import asyncio
import base64
import hashlib
import hmac
import ssl
import time
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlsplit

import pytest

from deploy.stack.ports import free_port
from schemas.identity.sources import AwsToken, TokenEndpoint, TokenFile
from schemas.identity.tokens import TokenError
from tests.tls.tokens import TokenServer, token_server

LIFE = 120


@pytest.fixture
def server() -> Iterator[TokenServer]:
    with token_server(["gateway"]) as running:
        running.lifetime_seconds = LIFE
        yield running


def endpoint(
    server: TokenServer, *, secret: str | None = None, scope: str | None = "kafka", url: str = ""
) -> TokenEndpoint:
    known = server.secrets["gateway"] if secret is None else secret
    return TokenEndpoint(url or server.url, "gateway", known, scope, ssl.create_default_context)


def problem(source: TokenEndpoint | TokenFile | AwsToken) -> str:
    with pytest.raises(TokenError) as failed:
        asyncio.run(source())
    return str(failed.value)


def test_a_client_gets_a_token_and_its_life(server: TokenServer) -> None:
    before = time.time()
    token = asyncio.run(endpoint(server)())
    assert [token.value] == server.tokens
    assert before <= token.obtained_at <= time.time()
    assert token.expires_at - token.obtained_at == LIFE


def test_a_refused_secret_and_a_refused_scope_name_their_settings(server: TokenServer) -> None:
    refused = problem(endpoint(server, secret="Tr0mbone"))
    assert f"{server.url} refuses the client gateway: invalid_client: no such client or secret" in refused
    assert "check KAFKA_OAUTH_CLIENT_ID and KAFKA_OAUTH_CLIENT_SECRET" in refused
    assert "Tr0mbone" not in refused
    assert problem(endpoint(server, scope=None)).endswith("invalid_scope; check KAFKA_OAUTH_SCOPE")


def test_an_endpoint_that_is_away_is_named(server: TokenServer) -> None:
    server.broken = HTTPStatus.SERVICE_UNAVAILABLE
    assert f"{server.url} (KAFKA_OAUTH_TOKEN_URL) answers 503 temporarily_unavailable" in problem(endpoint(server))
    nowhere = f"http://localhost:{free_port()}/token"
    assert f"{nowhere} (KAFKA_OAUTH_TOKEN_URL) does not answer: " in problem(endpoint(server, url=nowhere))
    server.broken = HTTPStatus.OK
    assert f"{server.url} (KAFKA_OAUTH_TOKEN_URL) answers without one: " in problem(endpoint(server))


def test_a_source_shows_no_secret() -> None:
    source = TokenEndpoint("https://login.example/token", "gateway", "Tr0mbone", None, ssl.create_default_context)
    assert "Tr0mbone" not in repr(source)


def test_a_file_is_read_each_time(tmp_path: Path) -> None:
    file = tmp_path / "token"
    source = TokenFile(file)
    assert "token (KAFKA_OAUTH_TOKEN_FILE) cannot be read: " in problem(source)
    file.write_text("\n")
    assert problem(source).endswith("token (KAFKA_OAUTH_TOKEN_FILE) is empty")
    for content in ("first", "second\n"):
        file.write_text(content)
        assert asyncio.run(source()).value == content.strip()


@pytest.fixture
def without_aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No credentials of this machine, and no question to a metadata service."""
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


@pytest.mark.usefixtures("without_aws")
def test_credentials_of_aws_sign_a_request_to_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    """The signature is computed again here, as AWS documents it (Signature Version 4, query parameters)."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
    token = asyncio.run(AwsToken("eu-central-1")())
    assert 890 <= token.expires_at - time.time() <= 900
    url = urlsplit(base64.urlsafe_b64decode(token.value + "=" * (-len(token.value) % 4)).decode())
    query = dict(parse_qsl(url.query))
    assert (url.hostname, query["Action"]) == ("kafka.eu-central-1.amazonaws.com", "kafka-cluster:Connect")
    assert query["X-Amz-Signature"] == _signature(url.hostname or "", query, "wJalrXUtnFEMI", "eu-central-1")


def _signature(host: str, query: dict[str, str], secret: str, region: str) -> str:
    signed = {name: value for name, value in query.items() if name not in {"X-Amz-Signature", "User-Agent"}}
    parameters = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in sorted(signed.items()))
    request = f"GET\n/\n{parameters}\nhost:{host}\n\nhost\n{hashlib.sha256(b'').hexdigest()}"
    day = query["X-Amz-Date"][:8]
    scope = f"{day}/{region}/kafka-cluster/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{query['X-Amz-Date']}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = f"AWS4{secret}".encode()
    for part in (day, region, "kafka-cluster", "aws4_request", text):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key.hex()


@pytest.mark.usefixtures("without_aws")
def test_missing_credentials_of_aws_are_named() -> None:
    assert "the AWS SDK finds no credentials for eu-central-1 (KAFKA_OAUTH_AWS_REGION)" in problem(
        AwsToken("eu-central-1")
    )
