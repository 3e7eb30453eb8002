"""What readiness and metrics say about the positions: halted partitions, and a database that does not give their offsets."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import structlog
from aiokafka import TopicPartition

from consumer.monitoring.health import Health
from consumer.monitoring.metrics import Metrics
from sql.connection import DATABASE_ERRORS

log = structlog.get_logger(__name__)


class PositionReports:
    """The reasons `stored_offsets`, `offset_gap` and `schema_registry` of readiness, and the metrics with the same labels."""

    def __init__(self, metrics: Metrics, health: Health) -> None:
        self._metrics = metrics
        self._health = health
        self._without_schema: dict[TopicPartition, str] = {}

    def clear(self) -> None:
        """No partition is assigned."""
        self._metrics.clear_lag()
        self._block("stored_offsets", None)
        self._block("offset_gap", None)
        self._without_schema.clear()
        self._block("schema_registry", None)

    def restored(self) -> None:
        self._health.unblock("starting")

    def halted(self, reasons: Mapping[TopicPartition, str]) -> None:
        gaps = "; ".join(f"{each.topic}-{each.partition}: {gap}" for each, gap in reasons.items())
        self._block("offset_gap", gaps and f"an operator must decide about the gap, nothing is guessed: {gaps}")

    def waits_for_schema(self, partition: TopicPartition, error: Exception | None) -> None:
        """Report that a partition cannot be read because its schema cannot be fetched, until it can (None)."""
        if error is None:
            self._without_schema.pop(partition, None)
        else:
            self._without_schema[partition] = f"{partition.topic}-{partition.partition}: {error}"
            log.warning(
                "schema_registry_unavailable", topic=partition.topic, partition=partition.partition, error=str(error)
            )
        waiting = "; ".join(self._without_schema.values())
        self._block("schema_registry", waiting and f"records wait for a schema that cannot be fetched: {waiting}")

    @contextmanager
    def database_errors(self, retry_in: float) -> Iterator[None]:
        """Report an error of the database, which is raised; the end of the block without one ends the report."""
        try:
            yield
        except DATABASE_ERRORS as error:
            self._block("stored_offsets", f"the stored offsets cannot be read: {error}")
            log.warning("stored_offsets_unavailable", error=repr(error), retry_in=retry_in)
            raise
        self._block("stored_offsets", None)

    def _block(self, reason: str, detail: str | None) -> None:
        self._metrics.paused.labels(reason).set(1 if detail else 0)
        if detail:
            self._health.block(reason, detail)
        else:
            self._health.unblock(reason)
