"""A span for each HTTP request."""

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.metrics import METHODS
from schemas.tracing.tracer import Tracer

PROBES: Final = frozenset({"/healthz", "/readyz", "/metrics"})  # asked every few seconds
SERVER_ERROR: Final = 500
_CONTEXT: Final = frozenset({b"traceparent", b"tracestate"})


class TracingMiddleware:
    """Opens a span for each request but those of probes; the client's trace context makes it a part of the client's trace.

    Names and attributes hold no text of the client's: neither its query nor the device in its path.
    """

    def __init__(self, app: ASGIApp, tracer: Tracer) -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in METHODS else "_OTHER"
        parent = {name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in _CONTEXT}
        with self._tracer.span(method, "server", attributes={"http.request.method": method}, parent=parent) as span:

            async def send_and_note_status(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set({"http.response.status_code": message["status"]})
                    if message["status"] >= SERVER_ERROR:
                        span.fail()
                await send(message)

            try:
                await self._app(scope, receive, send_and_note_status)
            finally:
                route = getattr(scope.get("route"), "path", None)
                if route:
                    span.rename(f"{method} {route}")
                    span.set({"http.route": route})
