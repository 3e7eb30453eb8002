"""A batch -> the database, however long that takes to come back; what was written is told to metrics and readiness."""

import asyncio
import time
from typing import Any

import structlog
from aiokafka import TopicPartition

from consumer.backoff import Backoff
from consumer.monitoring.health import Health
from consumer.monitoring.metrics import Metrics
from consumer.records.batch import Batch, BatchResult
from consumer.storage.errors import CommitOutcomeUnknownError, FencedError, retry_cause
from consumer.storage.offsets import StoredOffsets
from consumer.storage.store import Store

log = structlog.get_logger(__name__)


class Writer:
    """Writes batches; several may be under way, of different partitions.

    `written` says up to which offset each partition was written since it was assigned.
    """

    def __init__(self, store: Store, stored: StoredOffsets, metrics: Metrics, health: Health) -> None:
        self._store = store
        self._stored = stored
        self._metrics = metrics
        self._health = health
        self._held_up: set[asyncio.Task[Any] | None] = set()
        self._ended = 0.0
        self.written: dict[TopicPartition, int] = {}
        self.throughput = (0, 0.0)  # records written, seconds that took, waits for the database left out

    async def write(self, batch: Batch) -> BatchResult:
        """Return once the batch is written.

        Raises:
            Fenced: somebody else has written one of its partitions; nothing of it was written.
        """
        started = time.monotonic()
        backoff = Backoff()
        try:
            while True:
                tried = time.monotonic()
                try:
                    outcome = await self._write_once(batch)
                    break
                except FencedError:
                    raise
                except Exception as error:  # noqa: BLE001 - whatever it is, the batch is kept, and it is said
                    self._report_retry(error, batch, backoff)
                    await backoff.sleep()
        finally:
            self._report_free()
        self._count(len(batch), tried, time.monotonic())
        self._report_written(batch, outcome, time.monotonic() - started)
        return outcome

    def was_fenced(self, writing: "asyncio.Task[BatchResult]") -> bool:
        """Whether a write that has ended was refused; any other error is raised."""
        try:
            writing.result()
        except FencedError as fenced:
            self._metrics.fenced.inc()
            log.warning("write_fenced", partitions=[f"{each.topic}-{each.partition}" for each in fenced.partitions])
            return True
        return False

    def forget(self) -> None:
        """What was written of partitions that are no longer ours is somebody else's to tell."""
        self.written = {}

    async def _write_once(self, batch: Batch) -> BatchResult:
        try:
            return await self._store.write(batch)
        except CommitOutcomeUnknownError as unknown:
            log.warning("commit_outcome_unknown", error=repr(unknown.__cause__))
            return await self._find_out(batch, unknown.result)

    async def _find_out(self, batch: Batch, outcome: BatchResult) -> BatchResult:
        backoff = Backoff()
        while True:
            try:
                stored = await self._stored.read(batch.spans)
                break
            except Exception as error:  # noqa: BLE001 - as above
                self._report_retry(error, batch, backoff)
                await backoff.sleep()
        if all(stored.get(partition) == span.next_offset for partition, span in batch.spans.items()):
            log.info("commit_found_done", records=len(batch))
            return outcome
        return await self._store.write(batch)  # from where it was, or fenced

    def _report_retry(self, error: Exception, batch: Batch, backoff: Backoff) -> None:
        cause = retry_cause(error)
        self._held_up.add(asyncio.current_task())
        self._metrics.retries.labels(cause).inc()
        self._metrics.paused.labels("database").set(1)
        self._health.waits("database", f"{cause}: {error}")
        sqlstate: Any = getattr(error, "sqlstate", None)
        log.warning(
            "write_retried",
            cause=cause,
            sqlstate=sqlstate,
            error=repr(error),
            records=len(batch),
            retry_in=backoff.next_seconds,
        )

    def _count(self, number: int, began: float, ended: float) -> None:
        """Writes of several topics overlap: a second in which two were under way is one second."""
        records, busy = self.throughput
        self.throughput = (records + number, busy + ended - max(began, self._ended))
        self._ended = ended

    def _report_free(self) -> None:
        self._held_up.discard(asyncio.current_task())
        if not self._held_up:
            self._health.goes_on("database")
            self._metrics.paused.labels("database").set(0)

    def _report_written(self, batch: Batch, outcome: BatchResult, seconds: float) -> None:
        now = time.time()
        self._metrics.count(outcome)
        self._metrics.write_seconds.observe(seconds)
        for partition, span in batch.spans.items():
            self.written[partition] = span.next_offset
            self._metrics.freshness.observe(max(0.0, now - span.oldest / 1000))
        log.debug("batch_written", records=outcome.consumed.total(), seconds=round(seconds, 4))
