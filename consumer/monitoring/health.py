"""/metrics, /healthz and /readyz of a replica, on a thread of their own: they answer even while the event loop does not."""

import json
import time
from collections.abc import Callable, Iterable
from typing import Any, Final
from wsgiref.simple_server import WSGIServer

from prometheus_client import make_wsgi_app

from consumer.monitoring.metrics import Metrics
from schemas.config.probe_server import start_probe_server

DEFAULT_PORT: Final = 9464
STUCK_AFTER_SECONDS: Final = 30.0


class Health:
    """What the loop says of itself.

    Live: it makes progress, waiting for a database included. Ready: it has partitions and can write.
    """

    def __init__(self) -> None:
        self._last_beat = time.monotonic()
        self._waiting: dict[str, str] = {"starting": "the consumer has not joined its group and read its offsets yet"}

    def beat(self) -> None:
        """The loop came by."""
        self._last_beat = time.monotonic()

    def waits(self, reason: str, detail: str) -> None:
        """Reading or writing waits for something."""
        self._waiting[reason] = detail

    def goes_on(self, reason: str) -> None:
        """It no longer waits for that."""
        self._waiting.pop(reason, None)

    def live(self) -> dict[str, str]:
        """Empty when live, else what is wrong."""
        silent = time.monotonic() - self._last_beat
        return {"stuck": f"the loop has not moved for {silent:.0f} s"} if silent > STUCK_AFTER_SECONDS else {}

    def ready(self) -> dict[str, str]:
        """Empty when ready, else what it waits for."""
        return self.live() | self._waiting


def serve(health: Health, metrics: Metrics, host: str, port: int | None) -> tuple[WSGIServer, int]:
    """Start answering; the server, and the port it took. With no port given, 9464 is tried first and then any free one."""
    server = start_probe_server(_application(health, metrics), host, port, default_port=DEFAULT_PORT)
    return server, server.server_port


def _application(health: Health, metrics: Metrics) -> Callable[[dict[str, Any], Any], Iterable[bytes]]:
    exposition = make_wsgi_app(metrics.registry)

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        match environ["PATH_INFO"]:
            case "/metrics":
                answer: Iterable[bytes] = exposition(environ, start_response)
                return answer
            case "/healthz":
                return _report(health.live(), start_response)
            case "/readyz":
                return _report(health.ready(), start_response)
            case _:
                start_response("404 Not Found", [("Content-Type", "text/plain")])
                return [b"/metrics, /healthz and /readyz are served here\n"]

    return application


def _report(problems: dict[str, str], start_response: Any) -> Iterable[bytes]:
    start_response("503 Service Unavailable" if problems else "200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"status": "unavailable" if problems else "ok", "waiting_for": problems}).encode()]
