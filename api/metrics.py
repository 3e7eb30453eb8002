"""How long requests take, by route template; never by what a client has put into the path."""

import time
from math import nan
from typing import Any

from prometheus_client import Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.database.replica import ReplicaMonitor
from schemas.config.metrics import new_registry

CLIENT_GONE = 499  # nothing was answered, for nobody was there any more; the number that proxies use
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """The service's registry and what is in it."""

    def __init__(self) -> None:
        self.registry = new_registry()
        self.requests = Histogram(
            "energy_http_request_duration_seconds",
            "From the first byte of a request to the last of its answer",
            ("method", "route", "status"),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.connections_refused = Counter(
            "energy_http_connections_refused",
            "Connections that were closed without a request: too many, or a head too large, too slow or not HTTP",
            ("status",),
            registry=self.registry,
        )
        self.answers_cut_off = Counter(
            "energy_http_answers_cut_off_total",
            "Connections closed because the client took nothing of its answer for ANSWER_TAKEN_WITHIN_SECONDS",
            registry=self.registry,
        )
        self.dead_letters = Gauge(
            "energy_dead_letters_unresolved",
            "Dead letters that nobody has replayed or discarded; counted when this is asked",
            ("topic", "reason"),
            registry=self.registry,
        )
        self.reads = Counter(
            "energy_api_reads_total",
            "Connections taken to read from, by where: the replica or the primary",
            ("source",),
            registry=self.registry,
        )

    def follow(self, replica: ReplicaMonitor) -> None:
        """Show how the replica is doing."""
        Gauge(
            "energy_api_replica_lag_seconds",
            "By how much the replica's answers are older than the primary's at most; NaN when that is not known",
            registry=self.registry,
        ).set_function(lambda: nan if (staleness := replica.staleness()) is None else staleness)
        Gauge(
            "energy_api_replica_up",
            "Whether the replica answers: 1 or 0",
            registry=self.registry,
        ).set_function(lambda: float(replica.is_up))


class RequestMetricsMiddleware:
    """ASGI middleware: observes every HTTP request."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and note how long it took."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, code = time.perf_counter(), CLIENT_GONE

        async def watch(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except Exception:
            code = 500 if code == CLIENT_GONE else code
            raise
        finally:
            taken = time.perf_counter() - started
            self._metrics.requests.labels(_method(scope), _route(scope), code).observe(taken)


def _route(scope: Any) -> str:
    return getattr(scope.get("route"), "path", "unmatched")


def _method(scope: Any) -> str:
    known = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
    return scope["method"] if scope["method"] in known else "other"
