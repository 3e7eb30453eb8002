"""The batch writer: retries a batch until it is committed or fenced, or stops its topic, and reports what was written.

write -> Store.write ──(committed)──────────────────────────> result
            ├──(fenced)─────────────────────────────────────> FencedError
            ├──(error that may pass)──> report, back off ───> write again
            ├──(outcome of COMMIT unknown)──> the same ─────> read the offsets: result, or write again
            └──(any other error)────────────────────────────> TopicStoppedError: the breaker of the topic is open
"""

import asyncio
import time
from dataclasses import astuple, dataclass
from typing import Any, Final

import asyncpg
import structlog
from aiokafka import TopicPartition

from consumer.monitoring.batch_span import batch_span, outcome
from consumer.monitoring.health import Health
from consumer.monitoring.metrics import Metrics
from consumer.pipeline.breaker import Breaker
from consumer.records.batch import Batch, BatchResult
from consumer.retry import backoff
from consumer.storage.errors import CommitOutcomeUnknownError, FencedError, is_passing, retry_cause
from consumer.storage.offsets import StoredOffsets
from consumer.storage.store import Store
from schemas.records.readings import Reason
from schemas.tracing.tracer import NO_TRACER, Tracer

log = structlog.get_logger(__name__)

FEW_RECORDS: Final = 100
UNEXPECTED: Final = {
    Reason.REFUSED_BY_DATABASE,
    Reason.INTERNAL_ERROR,
}  # reasons found while writing that count for the breaker


@dataclass(frozen=True, slots=True)
class Throughput:
    """Writes since the start of the process, and the seconds in which one was in flight, without failed attempts.

    The writes of at most `FEW_RECORDS` are counted by themselves, too: their time is that of a transaction, whatever is in it.
    """

    records: int = 0
    writes: int = 0
    seconds: float = 0.0
    short_writes: int = 0
    short_seconds: float = 0.0

    def add(self, records: int, seconds: float) -> "Throughput":
        short = records <= FEW_RECORDS
        return Throughput(
            self.records + records,
            self.writes + 1,
            self.seconds + seconds,
            self.short_writes + short,
            self.short_seconds + short * seconds,
        )

    def __sub__(self, before: "Throughput") -> "Throughput":
        return Throughput(*(now - then for now, then in zip(astuple(self), astuple(before), strict=True)))


class WriteAbandonedError(Exception):
    """The partitions were revoked while a batch was being retried. Nothing of it was written by the last attempt."""


class TopicStoppedError(Exception):
    """An error of our own code, its cause, has stopped the topic of a batch. The stored offsets show whether it was written."""


class BatchWriter:
    """Writes batches; several may be in flight, of different partitions.

    `committed` holds the next offset of each partition as this process has committed it since the last rebalance. It is
    replaced, never reused, when partitions are revoked: a write that outlives that moment is not retried any more.
    """

    def __init__(
        self,
        store: Store,
        offsets: StoredOffsets,
        breaker: Breaker,
        metrics: Metrics,
        health: Health,
        tracer: Tracer = NO_TRACER,
    ) -> None:
        self._store = store
        self._offsets = offsets
        self._breaker = breaker
        self._metrics = metrics
        self._health = health
        self._tracer = tracer
        self._retrying: set[asyncio.Task[Any] | None] = set()
        self._busy_until = 0.0
        self.committed: dict[TopicPartition, int] = {}
        self.throughput = Throughput()

    async def write(self, batch: Batch) -> BatchResult:
        """Return once the batch is committed.

        Raises:
            FencedError: another consumer has written one of the partitions; nothing of the batch was written.
            WriteAbandonedError: the partitions were revoked before the batch could be written.
            TopicStoppedError: our own code cannot write the batch, and no single record is to blame.
        """
        committed = self.committed
        try:
            return await self._write(batch, committed)
        except (FencedError, WriteAbandonedError):
            raise
        except Exception as error:
            if committed is not self.committed:  # the next consumer of the partitions finds the error itself
                raise WriteAbandonedError from error
            for topic in {partition.topic for partition in batch.spans}:
                self._breaker.stop(topic, error)
            raise TopicStoppedError from error
        finally:
            self._report_unblocked()

    async def _write(self, batch: Batch, committed: dict[TopicPartition, int]) -> BatchResult:
        with batch_span(self._tracer, batch) as span:
            started = time.monotonic()
            attempt_started, result = await self._write_until_committed(batch, committed)
            committed.update({partition: span.next_offset for partition, span in batch.spans.items()})
            self._add_throughput(len(batch), attempt_started, time.monotonic())
            self._report_written(batch, result, time.monotonic() - started)
            span.set(outcome(result))
        return result

    async def _write_until_committed(
        self, batch: Batch, committed: dict[TopicPartition, int]
    ) -> tuple[float, BatchResult]:
        """The beginning of the attempt that was committed (monotonic seconds), and its result.

        A loop of its own instead of `retry_forever`, which would keep the error, and with it the batch, in a reference cycle.
        """
        unknown: BatchResult | None = None  # of a COMMIT whose response was lost
        locked = False
        for wait in backoff():
            started = time.monotonic()
            try:
                if locked:  # perhaps by a consumer whose host is gone: reading the offsets ends its session
                    await self._offsets.read(batch.spans)
                if unknown is not None and await self._is_committed(batch):
                    return started, unknown
                unknown = None
                return started, await self._store.write(batch)
            except Exception as error:
                if not is_passing(error):
                    raise
                if isinstance(error, CommitOutcomeUnknownError):
                    log.warning("commit_outcome_unknown", error=repr(error.__cause__))
                    unknown = error.result
                locked = isinstance(error, asyncpg.LockNotAvailableError)
                self._report_retry(error, batch, wait)
            await asyncio.sleep(wait)
            if committed is not self.committed:
                raise WriteAbandonedError
        raise AssertionError("the backoff never ends")

    async def _is_committed(self, batch: Batch) -> bool:
        """Whether the stored offsets say that this batch was committed.

        Waits for our own transaction, which may still be in COMMIT, but evicts no session: the partitions may belong to another
        consumer by now.
        """
        stored = await self._offsets.read(batch.spans, evict=False)
        found = {partition: offset.next_offset for partition, offset in stored.items()}
        confirmed = found == {partition: span.next_offset for partition, span in batch.spans.items()}
        if confirmed:
            log.info("commit_confirmed", records=len(batch))
        return confirmed

    def needs_restart(self, write: "asyncio.Task[BatchResult]") -> bool:
        """Whether a finished write was fenced or abandoned or has stopped its topic, so that the offsets must be read again."""
        error = write.exception()  # raising it here would tie it, and with it the batch, to this frame
        if error is None:
            return False
        if isinstance(error, FencedError):
            self._metrics.fenced.inc()
            log.warning("write_fenced", partitions=[f"{each.topic}-{each.partition}" for each in error.partitions])
        elif isinstance(error, WriteAbandonedError):
            log.warning("write_abandoned", reason="partitions were revoked while the write was being retried")
        elif not isinstance(error, TopicStoppedError):
            raise error
        return True

    def clear_committed(self) -> None:
        """Forget the committed offsets: the partitions may belong to another consumer now."""
        self.committed = {}

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
        self.throughput = self.throughput.add(records, ended - max(started, self._busy_until))
        self._busy_until = ended

    def _report_written(self, batch: Batch, result: BatchResult, seconds: float) -> None:
        now, exemplar = time.time(), self._tracer.exemplar()
        self._metrics.count(result)
        self._metrics.write_seconds.observe(seconds)
        for span in batch.spans.values():
            if span.oldest is not None:
                self._metrics.freshness.observe(max(0.0, now - span.oldest / 1000), exemplar)
        for (topic, reason), number in result.dead_letters.items():
            if reason in UNEXPECTED:
                self._breaker.record(topic, 0, number)  # the records themselves are counted when they are decoded
        log.debug("batch_written", records=result.consumed.total(), seconds=round(seconds, 4))
