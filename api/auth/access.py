"""Who may do what: request -> its API key -> an Access, or a refusal. Everything is closed that is not in OPEN.

Routes find the Access of their request with `access_of(request)`. The middleware has then seen to the scope; only the limits of
a key to some devices are left to the routes: `must_ingest(access, device_id)`, or `may_ingest` for each item of a batch.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from fastapi import HTTPException, Request
from prometheus_client import CollectorRegistry, Counter
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api.auth.api_keys import LONGEST
from api.auth.api_keys import Scope as KeyScope
from api.auth.key_store import KeyStore
from api.problems import documented, problem

# Probes and Prometheus carry no keys, and metrics name no devices. The page and the documents hold no data.
OPEN: Final = frozenset({"/", "/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"})
OPEN_BELOW: Final = ("/assets/", "/docs/")
INGESTION: Final = "/v1/ingestion/"
HOW: Final = "send it as `Authorization: Bearer KEY` (or `X-API-Key: KEY`)"
_AUTHORIZATION: Final = b"authorization"
_X_API_KEY: Final = b"x-api-key"


@dataclass(frozen=True, slots=True)
class Access:
    """What a request may do. `devices`: prefixes of the ids that it may send readings of; None: of any."""

    key_id: str | None
    scopes: frozenset[KeyScope]
    devices: tuple[str, ...] | None = None


ANYBODY: Final = Access(None, frozenset(KeyScope))


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not let in."""

    status: int
    reason: str
    detail: str
    challenge: str


_ERROR: Final = 'Bearer realm="energy", error='
MISSING: Final = Refusal(401, "missing", f"this needs an API key; {HOW}", 'Bearer realm="energy"')
TWO_KEYS: Final = Refusal(401, "malformed", "send one API key, not several", f'{_ERROR}"invalid_request"')
NOT_A_BEARER: Final = Refusal(
    401, "malformed", f"the Authorization is not an API key's; {HOW}", f'{_ERROR}"invalid_request"'
)
UNKNOWN: Final = Refusal(
    401, "unknown", "this API key is not known here; it may have been revoked", f'{_ERROR}"invalid_token"'
)
EXPIRED: Final = Refusal(401, "expired", "this API key has expired", f'{_ERROR}"invalid_token"')
LACKING: Final[dict[KeyScope, Refusal]] = {
    scope: Refusal(
        403, "scope", f"this API key lacks the scope {scope}", f'{_ERROR}"insufficient_scope", scope="{scope}"'
    )
    for scope in KeyScope
}


def access_of(request: Request) -> Access:
    """Of the key that a request came with."""
    found: Access = request.state.access
    return found


def still_admitted(request: Request) -> bool:
    """Whether the key of a request that goes on for long is still good: its stream ends when it is revoked or expires."""
    keyring: KeyStore | None = request.app.state.keyring
    if keyring is None:
        return True
    key = keyring.keys.by_id.get(access_of(request).key_id or "")
    return key is not None and not key.expired(datetime.now(UTC)) and KeyScope.READ in key.scopes


def may_ingest(access: Access, device_id: str) -> bool:
    """Whether readings of this device may be sent."""
    return KeyScope.INGEST in access.scopes and (access.devices is None or device_id.startswith(access.devices))


def must_ingest(access: Access, device_id: str) -> None:
    """Nothing when readings of this device may be sent.

    Raises:
        HTTPException: 403.
    """
    if not may_ingest(access, device_id):
        raise HTTPException(403, f"this API key may not send readings of {device_id}")


def scope_of(path: str) -> KeyScope | None:
    """The scope that a path needs; None when it is open."""
    if path in OPEN or path.startswith(OPEN_BELOW):
        return None
    return KeyScope.INGEST if path.startswith(INGESTION) else KeyScope.READ


class AuthenticationMiddleware:
    """ASGI middleware: lets a request in with its Access, or answers 401 or 403."""

    def __init__(self, app: ASGIApp, keyring: KeyStore | None, registry: CollectorRegistry) -> None:
        self._app = app
        self._keyring = keyring  # None: access is open
        self._refusals = Counter(
            "energy_http_refused", "Requests that their API key did not let in", ("reason",), registry=registry
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "http" and (needed := scope_of(scope["path"])):
            found = self._admit(scope["headers"], needed)
            if isinstance(found, Refusal):
                self._refusals.labels(found.reason).inc()
                await _refuse(found)(scope, receive, send)
                return
            scope.setdefault("state", {})["access"] = found
        await self._app(scope, receive, send)

    def _admit(self, headers: list[tuple[bytes, bytes]], needed: KeyScope) -> Access | Refusal:
        if self._keyring is None:
            return ANYBODY
        sent = _sent(headers)
        if isinstance(sent, Refusal):
            return sent
        key = self._keyring.keys.find(sent) if len(sent) <= LONGEST else None
        if key is None:
            return UNKNOWN
        if key.expires and key.expired(datetime.now(UTC)):
            return EXPIRED
        if needed not in key.scopes:
            return LACKING[needed]
        return Access(key.id, frozenset(key.scopes), key.devices)


def _sent(headers: list[tuple[bytes, bytes]]) -> bytes | Refusal:
    """The key of a request: never out of its address, which ends up in logs."""
    given = [(name, value) for name, value in headers if name in (_AUTHORIZATION, _X_API_KEY)]
    if not given:
        return MISSING
    if len(given) > 1:
        return TWO_KEYS
    name, value = given[0]
    if name == _X_API_KEY:
        return value.strip()
    scheme, _, key = value.partition(b" ")
    return key.strip() if scheme.lower() == b"bearer" else NOT_A_BEARER


def _refuse(refusal: Refusal) -> Response:
    answer = problem(refusal.status, refusal.detail)
    answer.headers["WWW-Authenticate"] = refusal.challenge
    return answer


def document_access(described: dict[str, Any]) -> None:
    """Write into an OpenAPI document which routes need a key, with which scope, and what they answer without."""
    described.setdefault("components", {})["securitySchemes"] = {
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "an API key: `python -m api keys create`; not asked for with API_OPEN=true",
        },
        "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "the same key"},
    }
    for path, operations in described["paths"].items():
        if needed := scope_of(path):
            for operation in operations.values():
                operation["security"] = [{"bearer": [needed.value]}, {"apiKey": [needed.value]}]
                for code, answer in documented(401, 403).items():
                    operation["responses"].setdefault(str(code), answer)
                operation["responses"] = dict(sorted(operation["responses"].items()))
