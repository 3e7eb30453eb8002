"""All metrics of a consumer; names and labels are part of the contract."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from aiokafka import TopicPartition
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from consumer.records.batch import BatchResult
from schemas.config.metrics import new_registry
from schemas.records.readings import Reason

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 21600, 86400)
_RECORDS = (1, 10, 100, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000)


@dataclass(slots=True)
class Metrics:
    """The registry of one process, and the metrics in it."""

    registry: CollectorRegistry = field(default_factory=new_registry)
    lag_records: Gauge = field(init=False)
    lag_seconds: Gauge = field(init=False)
    replicas_needed: Gauge = field(init=False)
    unassigned_partitions: Gauge = field(init=False)
    partition_unavailable: Gauge = field(init=False)
    open_transaction: Gauge = field(init=False)
    consumed: Counter = field(init=False)
    written: Counter = field(init=False)
    duplicates: Counter = field(init=False)
    dead_letters: Counter = field(init=False)
    batch_records: Histogram = field(init=False)
    write_seconds: Histogram = field(init=False)
    retries: Counter = field(init=False)
    fenced: Counter = field(init=False)
    rebalances: Counter = field(init=False)
    stored_offsets_moved: Counter = field(init=False)
    paused: Gauge = field(init=False)
    breaker_open: Gauge = field(init=False)
    freshness: Histogram = field(init=False)
    clock_offset: Gauge = field(init=False)
    alerts_published: Counter = field(init=False)
    alerts_waiting: Gauge = field(init=False)

    def __post_init__(self) -> None:
        self._create_lag_metrics()
        self._create_partition_metrics()
        self._create_record_counters()
        self._create_write_metrics()
        self._create_state_metrics()
        self._create_alert_metrics()

    def _create_lag_metrics(self) -> None:
        partition = ("topic", "partition")
        self.lag_records = Gauge(
            "energy_consumer_lag_records", "Records not yet written", partition, registry=self.registry
        )
        self.lag_seconds = Gauge(
            "energy_consumer_lag_seconds",
            "Age of the oldest record not yet written, 0 when caught up",
            partition,
            registry=self.registry,
        )
        self.replicas_needed = Gauge(
            "energy_consumer_replicas_needed",
            "Consumers that the partitions of this consumer need; the sum over the group is what the group needs",
            registry=self.registry,
        )
        self.freshness = Histogram(
            "energy_freshness_seconds",
            "From the Kafka timestamp of the oldest record of each partition in a batch to its commit",
            buckets=_SECONDS,
            registry=self.registry,
        )

    def _create_partition_metrics(self) -> None:
        partition = ("topic", "partition")
        self.unassigned_partitions = Gauge(
            "energy_consumer_unassigned_partitions",
            "Partitions of the topic that no consumer of the group holds",
            ("topic",),
            registry=self.registry,
        )
        self.partition_unavailable = Gauge(
            "energy_consumer_partition_unavailable",
            "1 while an assigned partition has no leader, or its leader does not answer",
            partition,
            registry=self.registry,
        )
        self.open_transaction = Gauge(
            "energy_consumer_open_transaction_seconds",
            "How long one transaction of a producer has kept the records behind it from being read, 0 without one",
            partition,
            registry=self.registry,
        )

    def _create_record_counters(self) -> None:
        self.consumed = Counter(
            "energy_records_consumed",
            "Records read from Kafka and accounted for in the ledger",
            ("topic",),
            registry=self.registry,
        )
        self.written = Counter(
            "energy_records_written", "Readings written to history", ("topic",), registry=self.registry
        )
        self.duplicates = Counter(
            "energy_records_duplicate", "Readings that were stored already", ("topic",), registry=self.registry
        )
        self.dead_letters = Counter(
            "energy_dead_letters",
            "Records that can never become a reading",
            ("topic", "reason"),
            registry=self.registry,
        )

    def _create_write_metrics(self) -> None:
        self.batch_records = Histogram(
            "energy_batch_records", "Records in a batch", buckets=_RECORDS, registry=self.registry
        )
        self.write_seconds = Histogram(
            "energy_batch_write_seconds",
            "Time to write a batch, including retries",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.retries = Counter(
            "energy_write_retries", "Writes retried after an error", ("cause",), registry=self.registry
        )
        self.fenced = Counter(
            "energy_writes_fenced",
            "Batches rejected by the fence because another consumer has written",
            registry=self.registry,
        )

    def _create_state_metrics(self) -> None:
        self.rebalances = Counter(
            "energy_rebalances", "Rebalances that assigned partitions to this consumer", registry=self.registry
        )
        self.stored_offsets_moved = Counter(
            "energy_stored_offsets_moved",
            "Partitions whose stored offset was found elsewhere than this consumer had written it, and that are read from there",
            registry=self.registry,
        )
        self.paused = Gauge(
            "energy_ingest_paused", "1 while reading is paused for this reason", ("reason",), registry=self.registry
        )
        self.breaker_open = Gauge(
            "energy_breaker_open",
            "1 while a topic is not read because most of its records are rejected",
            ("topic",),
            registry=self.registry,
        )

        self.clock_offset = Gauge(
            "energy_consumer_clock_offset_seconds",
            "Seconds by which the clock of this consumer is ahead of the database's",
            registry=self.registry,
        )

    def _create_alert_metrics(self) -> None:
        self.alerts_published = Counter(
            "energy_alerts_published", "Fault events acknowledged by Kafka", registry=self.registry
        )
        self.alerts_waiting = Gauge(
            "energy_alerts_waiting", "Fault events not published yet, by any consumer", registry=self.registry
        )

    def initialize(self, topics: Iterable[str]) -> None:
        """Start the counters of each topic at 0; Prometheus would not see the first records as an increase otherwise."""
        for topic in topics:
            for counter in (self.consumed, self.written, self.duplicates):
                counter.labels(topic)
            for reason in Reason:
                self.dead_letters.labels(topic, reason.value)

    def count(self, result: BatchResult) -> None:
        """Add the result of one batch."""
        for topic, number in result.consumed.items():
            self.consumed.labels(topic).inc(number)
        for topic, number in result.written.items():
            self.written.labels(topic).inc(number)
        for topic, number in result.duplicates.items():
            self.duplicates.labels(topic).inc(number)
        for (topic, reason), number in result.dead_letters.items():
            self.dead_letters.labels(topic, reason.value).inc(number)
        self.batch_records.observe(result.consumed.total())

    def set_lag(self, partition: TopicPartition, records: int, seconds: float) -> None:
        self.lag_records.labels(partition.topic, partition.partition).set(records)
        self.lag_seconds.labels(partition.topic, partition.partition).set(seconds)

    def clear_lag(self) -> None:
        """End the series of revoked partitions."""
        self.lag_records.clear()
        self.lag_seconds.clear()
        self.partition_unavailable.clear()
        self.open_transaction.clear()
        self.replicas_needed.set(0)
