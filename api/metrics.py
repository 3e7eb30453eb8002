"""Prometheus metrics of the API."""

from collections.abc import Callable
from math import nan
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from schemas.config.metrics import new_registry

# Any other is the client's text.
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """The registry of one application, and the metrics that more than one module updates."""

    def __init__(self) -> None:
        self.registry = new_registry()
        self.requests = Histogram(
            "energy_http_request_duration_seconds",
            "Time from the start of a request to the end of its response",
            ("method", "route", "status"),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.connections_refused = Counter(
            "energy_http_connections_refused",
            "Connections closed without handling a request: too many, or a head that is too large, too slow or not HTTP",
            ("status",),
            registry=self.registry,
        )
        self.answers_cut_off = Counter(
            "energy_http_answers_cut_off_total",
            "Connections closed because the client read nothing of its response for ANSWER_TAKEN_WITHIN_SECONDS",
            registry=self.registry,
        )
        self.dead_letters = Gauge(
            "energy_dead_letters_unresolved",
            "Dead letters that are neither replayed nor discarded; counted at every scrape",
            ("topic", "reason"),
            registry=self.registry,
        )
        self.reads = Counter(
            "energy_api_reads_total",
            "Connections acquired for reading, by database: replica or primary",
            ("source",),
            registry=self.registry,
        )

        self._cells = Gauge(
            "energy_api_cell_up",
            "Whether the database of a cell responds: 1 or 0; without DATABASE_CELLS there is no series",
            ("cell",),
            registry=self.registry,
        )

    def track_cell(self, name: str, is_up: Callable[[], bool]) -> None:
        """Adds the series of a cell; `is_up` is called at every scrape."""
        self._cells.labels(name).set_function(lambda: float(is_up()))

    def track_replica(self, staleness: Callable[[], float | None], is_up: Callable[[], bool]) -> None:
        """Adds the gauges of a replica; `staleness` is in seconds, None while unknown. Both are called at every scrape."""
        Gauge(
            "energy_api_replica_lag_seconds",
            "Upper bound of the age of the replica's data relative to the primary; NaN while unknown",
            registry=self.registry,
        ).set_function(lambda: nan if (seconds := staleness()) is None else seconds)
        Gauge(
            "energy_api_replica_up",
            "Whether the replica responds: 1 or 0",
            registry=self.registry,
        ).set_function(lambda: float(is_up()))
