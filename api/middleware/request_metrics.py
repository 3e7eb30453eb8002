"""Request durations by method, route template and status."""

import time
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.metrics import METHODS, Metrics

CLIENT_CLOSED_REQUEST: Final = 499  # nginx's code: the client disconnected before a response was started


class RequestMetricsMiddleware:
    """Measures every HTTP request. Labels hold no text of the client's: it could create any number of time series."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), CLIENT_CLOSED_REQUEST

        async def send_and_note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_note_status)
        except Exception:
            status = 500 if status == CLIENT_CLOSED_REQUEST else status
            raise
        finally:
            duration = time.perf_counter() - started
            self._metrics.requests.labels(_method(scope), _route(scope), status).observe(duration)


def _route(scope: Any) -> str:
    """The template of the matched route, such as /v1/vehicles/{vehicleId}."""
    return getattr(scope.get("route"), "path", "unmatched")


def _method(scope: Any) -> str:
    return scope["method"] if scope["method"] in METHODS else "other"
