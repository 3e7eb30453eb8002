"""A token endpoint over HTTP: tokens for clients with a secret, and the keys with which a broker verifies them."""

import base64
import json
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256

from deploy.stack.ports import free_port

KEY_ID = "key-1"


class TokenServer:
    """Grants JSON Web Tokens by client credentials, as RFC 6749 and RFC 7519 define it.

    Attributes:
        secrets: of the clients, by their ids.
        lifetime_seconds: of the next tokens.
        audience: of the next tokens.
        broken: a status that every request for a token is answered with instead.
        granted: the number of tokens of each client.
        tokens: all tokens.
    """

    def __init__(self, clients: Sequence[str]) -> None:
        self.secrets = {client: f"secret+{secrets.token_urlsafe(12)}/%" for client in clients}
        self.lifetime_seconds = 300.0
        self.audience = "kafka"
        self.broken: HTTPStatus | None = None
        self.granted = Counter[str]()
        self.tokens: list[str] = []
        self._key = generate_private_key(public_exponent=65537, key_size=2048)
        port = free_port()
        self.issuer = f"http://localhost:{port}"
        self.url, self.keys_url = f"{self.issuer}/token", f"{self.issuer}/keys"
        self.server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self.server.daemon_threads = True

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(HTTPStatus.OK, owner.keys())

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                self._answer(*owner.answer(self.headers.get("Authorization", ""), parse_qs(body)))

            def _answer(self, status: HTTPStatus, content: dict[str, Any]) -> None:
                text = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: Any) -> None:
                """Print nothing."""

        return Handler

    def keys(self) -> dict[str, Any]:
        """The JSON Web Key Set."""
        numbers = self._key.public_key().public_numbers()
        key = {
            "kty": "RSA",
            "use": "sig",
            "alg": "RS256",
            "kid": KEY_ID,
            "n": _number(numbers.n),
            "e": _number(numbers.e),
        }
        return {"keys": [key]}

    def answer(self, authorization: str, form: dict[str, list[str]]) -> tuple[HTTPStatus, dict[str, Any]]:
        """The answer to a request for a token."""
        if self.broken:
            return self.broken, {"error": "temporarily_unavailable"}
        client, _, secret = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
        client, secret = unquote(client), unquote(secret)
        if self.secrets.get(client) != secret:
            return HTTPStatus.UNAUTHORIZED, {"error": "invalid_client", "error_description": "no such client or secret"}
        if form != {"grant_type": ["client_credentials"], "scope": ["kafka"]}:
            return HTTPStatus.BAD_REQUEST, {"error": "invalid_scope"}
        self.granted[client] += 1
        token = self.token(client)
        self.tokens.append(token)
        return HTTPStatus.OK, {"access_token": token, "token_type": "Bearer", "expires_in": self.lifetime_seconds}

    def token(self, subject: str) -> str:
        """A token for a subject, signed."""
        now = time.time()
        header = {"alg": "RS256", "kid": KEY_ID, "typ": "JWT"}
        claims = {
            "iss": self.issuer,
            "sub": subject,
            "aud": self.audience,
            "scope": "kafka",
            "iat": int(now),
            "exp": int(now + self.lifetime_seconds),
            "jti": secrets.token_hex(8),
        }
        signed = ".".join(_base64(json.dumps(part).encode()) for part in (header, claims))
        return f"{signed}.{_base64(self._key.sign(signed.encode(), PKCS1v15(), SHA256()))}"


@contextmanager
def token_server(clients: Sequence[str]) -> Iterator[TokenServer]:
    """A running token endpoint."""
    running = TokenServer(clients)
    thread = threading.Thread(target=running.server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield running
    finally:
        running.server.shutdown()
        running.server.server_close()
        thread.join()


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _number(value: int) -> str:
    return _base64(value.to_bytes((value.bit_length() + 7) // 8, "big"))
