"""API keys of requests."""

from prometheus_client import CollectorRegistry, Counter
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api.auth.access import OPEN_ACCESS, AuthFailure, authorize, required_scope
from api.auth.key_store import KeyStore
from api.problems import problem_response


class AuthenticationMiddleware:
    """Attaches an Access to each request that needs one, or answers 401 or 403. Without a key store all access is open."""

    def __init__(self, app: ASGIApp, key_store: KeyStore | None, registry: CollectorRegistry) -> None:
        self._app = app
        self._key_store = key_store
        self._failures = Counter(
            "energy_http_refused", "Requests rejected because of their API key", ("reason",), registry=registry
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (required := required_scope(scope["path"])):
            access = authorize(scope["headers"], required, self._key_store) if self._key_store else OPEN_ACCESS
            if isinstance(access, AuthFailure):
                self._failures.labels(access.reason).inc()
                await _rejection(access)(scope, receive, send)
                return
            scope.setdefault("state", {})["access"] = access
        await self._app(scope, receive, send)


def _rejection(failure: AuthFailure) -> Response:
    response = problem_response(failure.status, failure.detail)
    response.headers["WWW-Authenticate"] = failure.challenge
    return response
