"""The short way to the gateway's routes, for readings come by the thousand a second.

request -> is it one of the gateway's? -> its route, and no other of the application's machinery
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

from api.ingestion.request import ClientDisconnected, IngestionRequest, Refusal

Endpoint = Callable[[IngestionRequest], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class _Route:
    """What the metrics call it."""

    path: str


class FastPath:
    """ASGI middleware around the framework: what the others have let through goes straight to its endpoint.

    The same routes are in the application for OpenAPI, and for what is not a POST.
    """

    def __init__(self, app: ASGIApp, endpoints: Mapping[str, Endpoint]) -> None:
        self._app = app
        self._routes = {path: (_Route(path), endpoint) for path, endpoint in endpoints.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        found = self._routes.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if found is None:
            await self._app(scope, receive, send)
            return
        scope["route"], endpoint = found
        exchange = IngestionRequest(scope, receive, send)
        try:
            await endpoint(exchange)
        except ClientDisconnected:
            return
        except Refusal as refusal:
            scope["app"].state.gateway_metrics.refused(refusal.status)
            await exchange.refuse(refusal)
