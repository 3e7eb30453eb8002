"""The batch writer: retries a batch until it is committed or fenced, and reports what was written.

write -> Store.write ──(committed)──────────────────────────────> result
            ├──(fenced)─────────────────────────────────────────> FencedError
            ├──(outcome of COMMIT unknown)──> read the offsets ─> result, or write again
            └──(any other error)────────────────────────────────> report, back off, write again
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from aiokafka import TopicPartition

from consumer.monitoring.health import Health
from consumer.monitoring.metrics import Metrics
from consumer.records.batch import Batch, BatchResult
from consumer.retry import retry_forever
from consumer.storage.errors import CommitOutcomeUnknownError, FencedError, retry_cause
from consumer.storage.offsets import StoredOffsets
from consumer.storage.store import Store

log = structlog.get_logger(__name__)


class BatchWriter:
    """Writes batches; several may be in flight, of different partitions.

    `committed` holds the next offset of each partition as this process has committed it since the last rebalance.
    """

    def __init__(self, store: Store, offsets: StoredOffsets, metrics: Metrics, health: Health) -> None:
        self._store = store
        self._offsets = offsets
        self._metrics = metrics
        self._health = health
        self._retrying: set[asyncio.Task[Any] | None] = set()
        self._busy_until = 0.0
        self.committed: dict[TopicPartition, int] = {}
        self.throughput = (0, 0.0)  # records written, and the seconds spent on it without failed attempts

    async def write(self, batch: Batch) -> BatchResult:
        """Return once the batch is committed.

        Raises:
            FencedError: another consumer has written one of the partitions; nothing of the batch was written.
        """
        started = time.monotonic()
        try:
            async for attempt in retry_forever(Exception, unless=(FencedError,)):
                with attempt, self._reporting_errors(batch, attempt.next_wait):
                    attempt_started = time.monotonic()
                    result = await self._write_once(batch)
        finally:
            self._report_unblocked()
        self._add_throughput(len(batch), attempt_started, time.monotonic())
        self._report_written(batch, result, time.monotonic() - started)
        return result

    def was_fenced(self, write: "asyncio.Task[BatchResult]") -> bool:
        """Whether a finished write was fenced; any other error is raised."""
        try:
            write.result()
        except FencedError as fenced:
            self._metrics.fenced.inc()
            log.warning("write_fenced", partitions=[f"{each.topic}-{each.partition}" for each in fenced.partitions])
            return True
        return False

    def clear_committed(self) -> None:
        """Forget the committed offsets: the partitions may belong to another consumer now."""
        self.committed = {}

    async def _write_once(self, batch: Batch) -> BatchResult:
        try:
            return await self._store.write(batch)
        except CommitOutcomeUnknownError as unknown:
            log.warning("commit_outcome_unknown", error=repr(unknown.__cause__))
            return await self._resolve_commit(batch, unknown.result)

    async def _resolve_commit(self, batch: Batch, result: BatchResult) -> BatchResult:
        """The result of a commit whose response was lost: confirmed by the stored offsets, or written again."""
        async for attempt in retry_forever(Exception):
            with attempt, self._reporting_errors(batch, attempt.next_wait):
                stored = await self._offsets.read(batch.spans)
        if all(stored.get(partition) == span.next_offset for partition, span in batch.spans.items()):
            log.info("commit_confirmed", records=len(batch))
            return result
        return await self._store.write(batch)  # the offsets stand where they were, or the batch is fenced

    @contextmanager
    def _reporting_errors(self, batch: Batch, retry_in: float) -> Iterator[None]:
        try:
            yield
        except FencedError:
            raise
        except Exception as error:
            self._report_retry(error, batch, retry_in)
            raise

    def _report_retry(self, error: Exception, batch: Batch, retry_in: float) -> None:
        label = retry_cause(error)
        self._retrying.add(asyncio.current_task())
        self._metrics.retries.labels(label).inc()
        self._metrics.paused.labels("database").set(1)
        self._health.block("database", f"{label}: {error}")
        sqlstate: Any = getattr(error, "sqlstate", None)
        log.warning(
            "write_retried", cause=label, sqlstate=sqlstate, error=repr(error), records=len(batch), retry_in=retry_in
        )

    def _report_unblocked(self) -> None:
        self._retrying.discard(asyncio.current_task())
        if not self._retrying:
            self._health.unblock("database")
            self._metrics.paused.labels("database").set(0)

    def _add_throughput(self, records: int, started: float, ended: float) -> None:
        """Writes of several topics overlap: a second in which two were in flight counts once."""
        written, seconds = self.throughput
        self.throughput = (written + records, seconds + ended - max(started, self._busy_until))
        self._busy_until = ended

    def _report_written(self, batch: Batch, result: BatchResult, seconds: float) -> None:
        now = time.time()
        self._metrics.count(result)
        self._metrics.write_seconds.observe(seconds)
        for partition, span in batch.spans.items():
            self.committed[partition] = span.next_offset
            if span.oldest is not None:
                self._metrics.freshness.observe(max(0.0, now - span.oldest / 1000))
        log.debug("batch_written", records=result.consumed.total(), seconds=round(seconds, 4))
