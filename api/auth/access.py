"""What a request may do: its API key -> an Access, or an AuthFailure. Every path that is not listed as open needs a key."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from fastapi import Request

from api.auth.api_keys import MAX_KEY_BYTES, Scope
from api.auth.key_store import KeyStore

# Probes and Prometheus have no keys, and the metrics name no devices. The web page and the API documentation hold no data.
OPEN: Final = frozenset({"/", "/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"})
OPEN_BELOW: Final = ("/assets/", "/docs/")
INGESTION: Final = "/v1/ingestion/"
_HOW_TO_SEND: Final = "send it as `Authorization: Bearer KEY` (or `X-API-Key: KEY`)"
_AUTHORIZATION: Final = b"authorization"
_X_API_KEY: Final = b"x-api-key"


@dataclass(frozen=True, slots=True)
class Access:
    """What a request may do. `devices`: prefixes of the device ids whose readings it may send; None: of any device."""

    key_id: str | None
    scopes: frozenset[Scope]
    devices: tuple[str, ...] | None = None


OPEN_ACCESS: Final = Access(None, frozenset(Scope))


@dataclass(frozen=True, slots=True)
class AuthFailure:
    """Why a request is rejected. `reason` is a metric label, `challenge` the WWW-Authenticate header."""

    status: int
    reason: str
    detail: str
    challenge: str


_ERROR: Final = 'Bearer realm="energy", error='
MISSING: Final = AuthFailure(401, "missing", f"this request needs an API key; {_HOW_TO_SEND}", 'Bearer realm="energy"')
TWO_KEYS: Final = AuthFailure(401, "malformed", "send one API key, not several", f'{_ERROR}"invalid_request"')
NOT_BEARER: Final = AuthFailure(
    401, "malformed", f"the Authorization header holds no API key; {_HOW_TO_SEND}", f'{_ERROR}"invalid_request"'
)
UNKNOWN: Final = AuthFailure(
    401, "unknown", "this API key is not known; it may have been revoked", f'{_ERROR}"invalid_token"'
)
EXPIRED: Final = AuthFailure(401, "expired", "this API key has expired", f'{_ERROR}"invalid_token"')
LACKS_SCOPE: Final[dict[Scope, AuthFailure]] = {
    scope: AuthFailure(
        403, "scope", f"this API key lacks the scope {scope}", f'{_ERROR}"insufficient_scope", scope="{scope}"'
    )
    for scope in Scope
}


def required_scope(path: str) -> Scope | None:
    """The scope that requests of this path need; None when the path is open."""
    if path in OPEN or path.startswith(OPEN_BELOW):
        return None
    return Scope.INGEST if path.startswith(INGESTION) else Scope.READ


def authorize(headers: Iterable[tuple[bytes, bytes]], required: Scope, key_store: KeyStore) -> Access | AuthFailure:
    """The access of the key in these headers. Limits to some devices are left to the route: see may_ingest()."""
    sent = _key_in(headers)
    if isinstance(sent, AuthFailure):
        return sent
    key = key_store.keys.find(sent) if len(sent) <= MAX_KEY_BYTES else None
    if key is None:
        return UNKNOWN
    if key.expires and key.expired(datetime.now(UTC)):
        return EXPIRED
    if required not in key.scopes:
        return LACKS_SCOPE[required]
    return Access(key.id, frozenset(key.scopes), key.devices)


def _key_in(headers: Iterable[tuple[bytes, bytes]]) -> bytes | AuthFailure:
    """The key in the headers. A key in the query is not accepted: URLs are logged."""
    given = [(name, value) for name, value in headers if name in (_AUTHORIZATION, _X_API_KEY)]
    if not given:
        return MISSING
    if len(given) > 1:
        return TWO_KEYS
    name, value = given[0]
    if name == _X_API_KEY:
        return value.strip()
    scheme, _, key = value.partition(b" ")
    return key.strip() if scheme.lower() == b"bearer" else NOT_BEARER


def access_of(request: Request) -> Access:
    """The Access that the middleware has attached to a request."""
    access: Access = request.state.access
    return access


def is_still_authorized(request: Request) -> bool:
    """Whether the key of a long-running request is still valid. A stream ends when its key is revoked or expires."""
    key_store: KeyStore | None = request.app.state.key_store
    if key_store is None:
        return True
    key = key_store.keys.by_id.get(access_of(request).key_id or "")
    return key is not None and not key.expired(datetime.now(UTC)) and Scope.READ in key.scopes


def may_ingest(access: Access, device_id: str) -> bool:
    return Scope.INGEST in access.scopes and (access.devices is None or device_id.startswith(access.devices))
