"""/metrics, /healthz and /readyz of a consumer, served by a thread: they respond even while the event loop is stuck."""

import json
import time
from collections.abc import Callable, Iterable
from typing import Any, Final
from wsgiref.simple_server import WSGIServer

from prometheus_client import make_wsgi_app

from consumer.monitoring.metrics import Metrics
from schemas.config.probe_server import WsgiApplication, start_probe_server

DEFAULT_PORT: Final = 9464
STUCK_AFTER_SECONDS: Final = 30.0


class Health:
    """Liveness and readiness of the process.

    Live: the poll loop runs, also while it waits for Kafka or the database. Ready: partitions are assigned and can be written.
    """

    def __init__(self, token_problem: Callable[[], str | None] = lambda: None) -> None:
        """`token_problem` tells why Kafka cannot be reached for want of a token."""
        self._token_problem = token_problem
        self._last_beat = time.monotonic()
        self._blocked_by: dict[str, str] = {
            "starting": "the consumer has not joined its group and read its offsets yet"
        }

    def beat(self) -> None:
        """Record that the poll loop is alive."""
        self._last_beat = time.monotonic()

    def block(self, reason: str, detail: str) -> None:
        """Record that reading or writing waits for something, until `unblock` with the same reason."""
        self._blocked_by[reason] = detail

    def unblock(self, reason: str) -> None:
        self._blocked_by.pop(reason, None)

    def live(self) -> dict[str, str]:
        """Empty when live, else the problem by its name."""
        silent = time.monotonic() - self._last_beat
        return {"stuck": f"the poll loop has not run for {silent:.0f} s"} if silent > STUCK_AFTER_SECONDS else {}

    def ready(self) -> dict[str, str]:
        """Empty when ready, else each reason for being blocked with its detail."""
        problem = self._token_problem()
        return self.live() | self._blocked_by | ({"kafka_token": problem} if problem else {})


def serve(health: Health, metrics: Metrics, host: str, port: int | None) -> tuple[WSGIServer, int]:
    """Start serving; returns the server and its port. None means 9464, or any free port when that one is in use."""
    server = start_probe_server(_application(health, metrics), host, port, default_port=DEFAULT_PORT)
    return server, server.server_port


def _application(health: Health, metrics: Metrics) -> WsgiApplication:
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
