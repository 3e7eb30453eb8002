"""fetch -> decode -> Batch -> write: while one batch is being written, the next is fetched and decoded.

getmany ──> Decoder ──> BatchBuilder ──(full, or has waited long enough)──> Store.write ──> Metrics
   ^                                                                            |
   └──────────── Assignment: positions from the database, after each rebalance ─┘
"""

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError

from consumer import faults
from consumer.assignment import Assignment
from consumer.backoff import Backoff
from consumer.batch import Batch, BatchBuilder, Outcome
from consumer.breaker import Breaker
from consumer.decode import Decoder
from consumer.health import Health
from consumer.metrics import Metrics
from consumer.namesake import Namesake
from consumer.offsets import StoredOffsets
from consumer.settings import ConsumerSettings
from consumer.store import CommitUnknown, Fenced, Store
from schemas.readings import TimeLimits

log = structlog.get_logger(__name__)

SLICE: Final = 2_000  # records decoded at a stretch: a few milliseconds, so that heartbeats are never late
KEEP_POLLING_SECONDS: Final = 5.0
IDLE_FETCH_MS: Final = 200
BUSY_FETCH_MS: Final = 20


class Pipeline:
    """One replica's flow of records. `run` ends when asked to, or raises what nobody can mend."""

    def __init__(
        self,
        settings: ConsumerSettings,
        consumer: AIOKafkaConsumer,
        store: Store,
        stored: StoredOffsets,
        breaker: Breaker,
        decoders: Mapping[str, Decoder],
        metrics: Metrics,
        health: Health,
    ) -> None:
        self._settings = settings
        self._consumer = consumer
        self._store = store
        self._stored = stored
        self._breaker = breaker
        self._decoders = decoders
        self._metrics = metrics
        self._health = health
        self._builder = BatchBuilder()
        self._writing: asyncio.Task[Outcome] | None = None
        self._in_flight: Batch | None = None
        namesake = Namesake(settings, consumer)
        self.assignment = Assignment(consumer, stored, breaker, metrics, health, self._let_go, namesake)
        self.written: dict[TopicPartition, int] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Move records until `stop` is set, then write what has been collected, within the time the settings give."""
        while not stop.is_set():
            self._health.beat()
            self.assignment.raise_failure()
            await self._fetch()
            if self._writing and self._writing.done():
                await self._settle_write()
            if self._due():
                await self._settle_write()
                self._begin_write()
        try:
            async with asyncio.timeout(self._settings.shutdown_timeout_seconds):
                await self._settle_write()
                if len(self._builder):
                    self._begin_write()
                    await self._settle_write()
        except TimeoutError:
            log.warning("stopped_with_a_batch_unwritten", records=len(self._builder))

    def oldest_unwritten(self) -> dict[TopicPartition, int]:
        """Kafka timestamp (ms) of the oldest record in hand, for each partition that has one."""
        spans = dict(self._builder.spans)
        if self._in_flight:
            spans |= self._in_flight.spans
        return {partition: span.oldest for partition, span in spans.items()}

    def in_hand(self) -> set[TopicPartition]:
        """The partitions that have records taken and not yet written."""
        return set(self._builder.spans) | (set(self._in_flight.spans) if self._in_flight else set())

    async def _fetch(self) -> None:
        if not self._consumer.subscription():
            await asyncio.sleep(IDLE_FETCH_MS / 1000)
            return
        builder, positions = self._builder, self.assignment.positions
        room = self._settings.batch_max_records - len(builder)
        try:
            fetched = await self._consumer.getmany(timeout_ms=self._patience_ms(), max_records=max(room, 1))
        except NoOffsetForPartitionError:
            return  # the position comes from the database, and is on its way
        except OffsetOutOfRangeError as error:
            log.error("offset_out_of_range", detail=str(error))
            await self.assignment.start_over()
            return
        except KafkaError as error:
            self._health.waits("kafka", f"Kafka cannot be read: {error}")
            log.warning("fetch_failed", error=repr(error))
            await asyncio.sleep(1)
            return
        self._health.goes_on("kafka")
        if positions is not self.assignment.positions:
            self.assignment.rewind(fetched)
            return
        limits = TimeLimits.at(datetime.now(UTC), self._settings.retention_days)
        for partition, records in fetched.items():
            await self._take(partition, records, builder, positions, limits)

    async def _take(
        self,
        partition: TopicPartition,
        records: list[ConsumerRecord],
        builder: BatchBuilder,
        positions: dict[TopicPartition, int],
        limits: TimeLimits,
    ) -> None:
        decoder = self._decoders[partition.topic]
        for start in range(0, len(records), SLICE):
            position = positions.get(partition)
            if position is None or records[start].offset < position:
                return  # handed out before its position was restored; it comes again after the seek
            if records[start].offset > position and not self.assignment.believes_hole(partition, position):
                return
            part = records[start : start + SLICE]
            decoded = decoder.decode(part, limits)
            if self._breaker.trips(partition.topic, len(part), len(decoded.dead_letters)):
                self.assignment.follow_breaker(self.in_hand())
                return
            builder.add(partition, position, part, self._log_end(partition), decoder.kind, decoded)
            positions[partition] = part[-1].offset + 1
            await asyncio.sleep(0)

    def _log_end(self, partition: TopicPartition) -> int:
        """Where the broker said that the partition ends, 0 when it is no longer ours to ask."""
        ours = partition in self._consumer.assignment()
        return (self._consumer.highwater(partition) or 0) if ours else 0

    def _patience_ms(self) -> int:
        if self._writing and not self._writing.done() and self._waited_enough():
            return BUSY_FETCH_MS
        if not len(self._builder):
            return IDLE_FETCH_MS
        left = self._builder.opened + self._settings.batch_max_wait_ms / 1000 - time.monotonic()
        return max(0, int(left * 1000))

    def _due(self) -> bool:
        if len(self._builder) >= self._settings.batch_max_records:
            return True
        idle = self._writing is None or self._writing.done()
        return idle and self._waited_enough()

    def _waited_enough(self) -> bool:
        waited = time.monotonic() - self._builder.opened
        return len(self._builder) > 0 and waited * 1000 >= self._settings.batch_max_wait_ms

    def _begin_write(self) -> None:
        if not len(self._builder):
            return  # a rebalance came while the batch before was settled
        self._in_flight = self._builder.build()
        self._builder = BatchBuilder()
        self._writing = asyncio.create_task(self._write(self._in_flight), name="write")

    async def _settle_write(self) -> None:
        """Wait for the write under way. A long wait keeps polling Kafka, with the partitions paused, to stay in the group."""
        writing = self._writing
        if writing is None:
            return
        await asyncio.wait({writing}, timeout=KEEP_POLLING_SECONDS)
        while not writing.done():
            self._health.beat()
            partitions = set(self.assignment.positions) & set(self._consumer.assignment())
            self._consumer.pause(*partitions)
            try:
                self.assignment.rewind(await self._consumer.getmany(timeout_ms=0))
            except KafkaError as error:
                log.warning("fetch_failed", error=repr(error))
            await asyncio.wait({writing}, timeout=KEEP_POLLING_SECONDS)
        self._consumer.resume(*(set(self.assignment.positions) & set(self._consumer.assignment())))
        if self._writing is not writing:
            return  # the partitions were taken away meanwhile, and the write with them
        self._writing = self._in_flight = None
        if self._was_fenced(writing):
            await self.assignment.start_over()

    def _was_fenced(self, writing: "asyncio.Task[Outcome]") -> bool:
        try:
            writing.result()
        except Fenced as fenced:
            self._metrics.fenced.inc()
            log.warning("write_fenced", partitions=[f"{each.topic}-{each.partition}" for each in fenced.partitions])
            return True
        return False

    async def _write(self, batch: Batch) -> Outcome:
        """Write a batch, however long the database takes to come back."""
        started = time.monotonic()
        backoff = Backoff()
        try:
            while True:
                try:
                    outcome = await self._write_once(batch)
                    break
                except Fenced:
                    raise
                except Exception as error:  # noqa: BLE001 - whatever it is, the batch is kept, and it is said
                    self._report_retry(error, batch, backoff)
                    await backoff.sleep()
        finally:
            self._health.goes_on("database")
            self._metrics.paused.labels("database").set(0)
        self._report_written(batch, outcome, time.monotonic() - started)
        return outcome

    async def _write_once(self, batch: Batch) -> Outcome:
        try:
            return await self._store.write(batch)
        except CommitUnknown as unknown:
            log.warning("commit_outcome_unknown", error=repr(unknown.__cause__))
            return await self._find_out(batch, unknown.outcome)

    async def _find_out(self, batch: Batch, outcome: Outcome) -> Outcome:
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
        cause = faults.cause(error)
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

    def _report_written(self, batch: Batch, outcome: Outcome, seconds: float) -> None:
        now = time.time()
        self._metrics.count(outcome)
        self._metrics.write_seconds.observe(seconds)
        for partition, span in batch.spans.items():
            self.written[partition] = span.next_offset
            self._metrics.freshness.observe(max(0.0, now - span.oldest / 1000))
        log.debug("batch_written", records=outcome.consumed.total(), seconds=round(seconds, 4))

    async def _let_go(self) -> None:
        """Partitions are being taken away: drop what was collected, and let the write under way end, or end it."""
        self._builder = BatchBuilder()
        self.written = {}
        writing = self._writing
        self._writing = self._in_flight = None
        if writing is None:
            return
        await asyncio.wait({writing}, timeout=self._settings.kafka_session_timeout_ms / 3000)
        if not writing.done():
            log.warning("write_abandoned", reason="the partitions are taken away and the database does not answer")
            writing.cancel()
            await asyncio.wait({writing})
        if not writing.cancelled():
            self._was_fenced(writing)
