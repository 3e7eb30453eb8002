"""Prometheus metrics of `python -m sql maintain`: its tasks, and the database as last measured."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, make_wsgi_app
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from schemas.config.metrics import new_registry
from schemas.config.probe_server import start_probe_server

DEFAULT_PORT: Final = 9465

NUMBERS: Final = {
    "database_bytes": "Size of the database",
    "faults_open": "Vehicles with an open efficiency fault",
    "vehicles_judged": "Vehicles assessed by the last evaluation",
    "replicas_connected": "Replicas that stream from the database",
    "replica_lag_seconds": "Replay lag of the slowest replica, 0 when there is none",
    "replica_lag_bytes": "WAL that the slowest replica has not replayed",
    "folding_lag_days": "Days that are due for folding and are not folded",
    "partitions_ahead_seconds": "Time until readings have no partition, gaps included",
    "database_clock_offset_seconds": "How far the database's clock is ahead of the clock of this host",
    "oldest_snapshot_seconds": "Age of the oldest transaction that holds a snapshot, 0 when there is none",
    "oldest_snapshot_transactions": "Age in transactions of the oldest snapshot, of replicas and replication slots too",
}
TABLES: Final[dict[str, tuple[str, Sequence[str]]]] = {
    "ledger_mismatch_records": ("Records that the ledger does not account for", ("topic",)),
    "newest_reading_age_seconds": ("Age of the newest reading by the database's clock; negative: it is ahead", ()),
    "table_bytes": ("Size of each table, including partitions and indexes", ("table",)),
    "dead_letters_unresolved": ("Dead letters neither replayed nor discarded", ("topic", "reason")),
}
Tables = Mapping[str, Sequence[tuple[Any, ...]]]  # by name, rows of label values followed by a number


@dataclass(frozen=True, slots=True)
class Measurement:
    """The database at one moment."""

    numbers: Mapping[str, float | None]
    tables: Tables


class DatabaseState(Collector):
    """The latest measurement, and the latest counts, which may be older. While the database does not answer, none is exposed."""

    def __init__(self) -> None:
        self.latest: Measurement | None = None
        self.counts: Tables = {}

    def collect(self) -> Iterator[GaugeMetricFamily]:
        latest = self.latest
        available = 1 if latest else 0
        yield GaugeMetricFamily("energy_database_answers", "1 while the database can be measured", value=available)
        if latest is None:
            return
        for name, meaning in NUMBERS.items():
            value = latest.numbers[name]
            if value is not None:
                yield GaugeMetricFamily(f"energy_{name}", meaning, value=value)
        for name, rows in {**latest.tables, **self.counts}.items():
            meaning, labels = TABLES[name]
            family = GaugeMetricFamily(f"energy_{name}", meaning, labels=labels)
            for *values, number in rows:
                family.add_metric(values, float(number))
            yield family


@dataclass(slots=True)
class MaintenanceMetrics:
    """The registry of the process and its metrics."""

    registry: CollectorRegistry = field(default_factory=new_registry)
    state: DatabaseState = field(default_factory=DatabaseState)
    last_success: Gauge = field(init=False)
    seconds: Gauge = field(init=False)
    failures: Counter = field(init=False)

    def __post_init__(self) -> None:
        registry, task = self.registry, ("task",)
        registry.register(self.state)
        self.last_success = Gauge(
            "energy_maintenance_last_success_timestamp_seconds",
            "Last success of each task, in this process or another; 0: never",
            task,
            registry=registry,
        )
        self.seconds = Gauge(
            "energy_maintenance_task_seconds", "Duration of the last run of each task", task, registry=registry
        )
        self.failures = Counter(
            "energy_maintenance_failures", "Failed runs of each task; every task is retried", task, registry=registry
        )

    def initialize(self, tasks: Iterable[str]) -> None:
        """Start each task's failure counter at 0; otherwise increase() would miss the first failure."""
        for task in tasks:
            self.failures.labels(task)

    def load_last_successes(self, successes: Mapping[str, float]) -> None:
        """Set the last successes stored in the database (Unix time; 0: never), so that a restart does not look like a stall."""
        for task, at in successes.items():
            self.last_success.labels(task).set(at)

    def record(self, task: str, seconds: float, succeeded_at: float | None) -> None:
        """Record a run of a task and the Unix time of its success by the database's clock; None: it failed."""
        self.seconds.labels(task).set(seconds)
        if succeeded_at is None:
            self.failures.labels(task).inc()
        else:
            self.last_success.labels(task).set(succeeded_at)


def serve(metrics: MaintenanceMetrics, host: str, port: int | None) -> int:
    """Serve /metrics on a thread of its own; returns the port. None means 9465, or any free port when that one is in use."""
    server = start_probe_server(make_wsgi_app(metrics.registry), host, port, default_port=DEFAULT_PORT)
    return server.server_port
