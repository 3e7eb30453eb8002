"""What `python -m sql maintain` serves for Prometheus: how its tasks go, and how the database is."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from schemas.config.metrics import new_registry

DEFAULT_PORT: Final = 9465

NUMBERS: Final = {
    "database_bytes": "Size of the database",
    "faults_open": "Vehicles with an open efficiency fault",
    "vehicles_judged": "Vehicles that the last evaluation has judged",
    "replicas_connected": "Replicas of the database that read from it",
    "replica_lag_seconds": "Of the slowest replica of the database, 0 when there is none",
    "replica_lag_bytes": "WAL that the slowest replica of the database has not replayed",
    "partitions_ahead_seconds": "Until there is no partition for a reading of then",
}
TABLES: Final[dict[str, tuple[str, Sequence[str]]]] = {
    "ledger_mismatch_records": ("Records that the ledger cannot account for", ("topic",)),
    "table_bytes": ("Size of each table, partitions and indexes included", ("table",)),
    "dead_letters_unresolved": ("Dead letters that nobody has replayed or discarded", ("topic", "reason")),
}


@dataclass(frozen=True, slots=True)
class Measured:
    """The database at one moment: single numbers by name, and by name rows of labels followed by a value."""

    numbers: Mapping[str, float | None]
    tables: Mapping[str, Sequence[tuple[Any, ...]]]


class DatabaseState(Collector):
    """What was measured last. While the database does not answer there is nothing but that: an old number would look like a
    true one.
    """

    def __init__(self) -> None:
        self.measured: Measured | None = None

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """One family for each thing that is known."""
        measured = self.measured
        answers = 1 if measured else 0
        yield GaugeMetricFamily("energy_database_answers", "1 while the database can be measured", value=answers)
        if measured is None:
            return
        for name, meaning in NUMBERS.items():
            value = measured.numbers[name]
            if value is not None:
                yield GaugeMetricFamily(f"energy_{name}", meaning, value=value)
        for name, (meaning, labels) in TABLES.items():
            family = GaugeMetricFamily(f"energy_{name}", meaning, labels=labels)
            for *values, number in measured.tables[name]:
                family.add_metric(values, float(number))
            yield family


@dataclass(slots=True)
class MaintenanceMetrics:
    """The registry of the process and the metrics in it."""

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
            "When each task last went well, in this process or another; 0: never",
            task,
            registry=registry,
        )
        self.seconds = Gauge(
            "energy_maintenance_task_seconds", "How long each task took when it last ran", task, registry=registry
        )
        self.failures = Counter(
            "energy_maintenance_failures", "Tasks that went wrong; each is tried again", task, registry=registry
        )

    def know(self, tasks: Iterable[str]) -> None:
        """Begin the counters of each task at 0: without, the first failure would be no increase."""
        for task in tasks:
            self.failures.labels(task)

    def recall(self, successes: Mapping[str, float]) -> None:
        """When each task last went well as the database knows, 0: never. So a restart does not look like a standstill."""
        for task, at in successes.items():
            self.last_success.labels(task).set(at)

    def done(self, task: str, seconds: float, *, well: bool) -> None:
        """A task has ended."""
        self.seconds.labels(task).set(seconds)
        if well:
            self.last_success.labels(task).set_to_current_time()
        else:
            self.failures.labels(task).inc()


def serve(metrics: MaintenanceMetrics, host: str, port: int | None) -> int:
    """Answer /metrics on a thread of its own; the port it took. With no port given, 9465 is tried first and then any free one."""
    try:
        server, _ = start_http_server(DEFAULT_PORT if port is None else port, host, registry=metrics.registry)
    except OSError:
        if port is not None:
            raise
        server, _ = start_http_server(0, host, registry=metrics.registry)
    return int(server.server_port)
