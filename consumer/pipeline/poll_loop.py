"""The poll loop: fetch -> decode -> buffer -> write; while a batch is written, the next one is fetched and decoded.

getmany ──> Decoder ──> TopicBuffer: BatchBuilder ──(full, or waited long enough)──> BatchWriter ──> Store.write ──> Metrics
   ^                                                                                     |
   └──────────── PartitionPositions: read from the database after each rebalance ────────┘
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from consumer.kafka.client import check_alive, unreadable_message
from consumer.kafka.slim_records import at_most_bytes
from consumer.monitoring.health import Health
from consumer.pipeline.breaker import Breaker
from consumer.pipeline.clock import Clock
from consumer.pipeline.positions import PartitionPositions, Scan
from consumer.pipeline.rebalance import RebalanceListener
from consumer.pipeline.topic_buffer import TopicBuffers
from consumer.records.decode import Decoder
from consumer.records.record import Record
from consumer.settings import ConsumerSettings
from schemas.records.readings import TimeLimits

log = structlog.get_logger(__name__)

RECORDS_PER_SLICE: Final = 2_000  # decoded without a break: a few milliseconds, so that heartbeats are never late
POLL_INTERVAL_SECONDS: Final = (
    5.0  # the longest wait for a write, or for a rebalance within a fetch, before the next round
)
IDLE_FETCH_MS: Final = 200
OPERATOR_CHECK_SECONDS: Final = 2.0


class PollLoop:
    """Moves the records of one process from Kafka to the batch writer."""

    def __init__(
        self,
        settings: ConsumerSettings,
        client: AIOKafkaConsumer,
        listener: RebalanceListener,
        positions: PartitionPositions,
        decoders: Mapping[str, Decoder],
        breaker: Breaker,
        buffers: TopicBuffers,
        clock: Clock,
        *,
        health: Health,
    ) -> None:
        self._settings = settings
        self._client = client
        self._listener = listener
        self._positions = positions
        self._decoders = decoders
        self._breaker = breaker
        self._clock = clock
        self._buffers = buffers
        self._health = health
        self._paused = False

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set, then write what is buffered, within the shutdown time-out; raises unrecoverable errors."""
        while not stop.is_set():
            self._health.beat()
            self._listener.raise_failure()
            check_alive(self._client)
            await self._collect_finished_writes()
            self._buffers.start_due_writes()
            if self._clock.agrees():
                await self._fetch_into_buffers()
            else:
                await self._wait_for_clock()
        try:
            async with asyncio.timeout(self._settings.shutdown_timeout_seconds):
                await self._flush()
        except TimeoutError:
            log.warning("batch_left_unwritten", records=self._buffers.buffered_records())

    async def apply_operator_decisions(self) -> None:
        """Apply closed breakers every two seconds (at once when one opens here); until cancelled."""
        while True:
            await self._breaker.wait(OPERATOR_CHECK_SECONDS)
            await self._breaker.sync()
            self._positions.apply_breaker()

    async def _collect_finished_writes(self) -> None:
        if self._buffers.collect_finished():  # one was fenced, or has stopped its topic
            await self._positions.restart()

    async def _fetch_into_buffers(self) -> None:
        if not self._client.subscription():
            await asyncio.sleep(IDLE_FETCH_MS / 1000)
            return
        assigned = self._client.assignment()
        fetchable = {partition for partition in assigned if self._buffers.capacity(partition.topic)}
        if assigned and not fetchable:
            await self._wait_for_capacity()
            return
        self._resume()
        self._positions.align_client()
        next_offsets = self._positions.next_offsets
        fetched = await self._fetch_records(fetchable)
        if fetched is None or next_offsets is not self._positions.next_offsets:  # a rebalance came between
            return
        if not self._clock.agrees():  # it has jumped meanwhile
            return
        limits = TimeLimits.at(self._clock.now(), self._settings.retention_days)
        for partition, scan in self._positions.take_scans(fetched).items():
            try:
                await self._process(partition, scan, next_offsets, limits)
            except Exception as error:  # noqa: BLE001 - of our own code: it concerns this topic, not the others
                self._breaker.stop(partition.topic, error)
                await self._positions.restart()  # discards what was decoded before the error
                return

    async def _fetch_records(self, partitions: set[TopicPartition]) -> dict[TopicPartition, list[Record]] | None:
        """Records of these partitions, at most as many as fit into the fullest of their buffers; None after an error."""
        topics = {partition.topic for partition in partitions}
        max_records = min(map(self._buffers.capacity, topics), default=1)
        max_bytes = min(map(self._buffers.bytes_left, topics), default=1)
        timeout_ms = int(min([IDLE_FETCH_MS, *self._buffers.milliseconds_until_look()]))
        try:
            # during a rebalance getmany waits without bound
            with at_most_bytes(max_bytes):
                async with asyncio.timeout(timeout_ms / 1000 + POLL_INTERVAL_SECONDS):
                    fetched: dict[TopicPartition, list[Record]] = await self._client.getmany(
                        *partitions, timeout_ms=timeout_ms, max_records=max_records
                    )
        except TimeoutError:
            return None
        except OffsetOutOfRangeError as error:
            self._positions.compare_with_log(error.args[0])
            return None
        except KafkaError as error:
            detail = unreadable_message(error, self._settings)
            self._health.block("kafka", detail)
            log.warning("fetch_failed", error=repr(error), detail=detail)
            await asyncio.sleep(1)
            return None
        self._health.unblock("kafka")
        return fetched

    async def _process(
        self,
        partition: TopicPartition,
        scan: Scan,
        next_offsets: dict[TopicPartition, int],
        limits: TimeLimits,
    ) -> None:
        decoder, position, records = self._decoders[partition.topic], scan.offsets.start, scan.records
        for start in range(0, len(records) or 1, RECORDS_PER_SLICE):
            part = records[start : start + RECORDS_PER_SLICE]
            if not self._positions.is_at(partition, position, next_offsets):
                return  # withdrawn or restored since; Kafka sends the records again
            unknown = decoder.first_unknown(part)
            if unknown:
                part = part[: unknown.position]
            if part or not unknown:
                end = scan.offsets.stop if start + len(part) == len(records) else part[-1].offset + 1
                if not self._take(partition, range(position, end), part, limits):
                    return
                next_offsets[partition] = position = end
            if unknown:
                self._positions.wait_for_schema(partition, unknown.load)
                return
            await asyncio.sleep(0)

    def _take(self, partition: TopicPartition, offsets: range, records: list[Record], limits: TimeLimits) -> bool:
        """Decode records and add them to the batch; False when that opens the breaker, and nothing is added."""
        decoder = self._decoders[partition.topic]
        started = time.time_ns()
        decoded = decoder.decode(records, limits)
        ended = time.time_ns()
        if records and self._breaker.record(partition.topic, len(records), len(decoded.dead_letters)):
            self._positions.apply_breaker()
            return False
        builder = self._buffers.builder(partition.topic)
        builder.add(partition, offsets, records, self._log_end(partition), decoder.record_type, decoded)
        builder.add_decoding(started, ended)
        return True

    def _log_end(self, partition: TopicPartition) -> int:
        """The end of the partition's log as of the last fetch; 0 when the partition was revoked."""
        assigned = partition in self._client.assignment()
        return (self._client.highwater(partition) or 0) if assigned else 0

    async def _wait_for_capacity(self) -> None:
        """Backpressure: wait for a write to finish; if that takes long, poll with the partitions paused, to stay in the group."""
        finished, _ = await asyncio.wait(
            self._buffers.writes_in_flight(), timeout=POLL_INTERVAL_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        if not finished:
            await self._poll_paused()

    async def _wait_for_clock(self) -> None:
        """Take no records while this clock is wrong, and stay in the group. What was fetched before is written."""
        if self._client.subscription():
            await self._poll_paused()
        await asyncio.sleep(IDLE_FETCH_MS / 1000)

    async def _poll_paused(self) -> None:
        """Poll without taking records: a consumer that does not poll leaves the group."""
        self._paused = True
        self._client.pause(*self._active_partitions())
        try:
            async with asyncio.timeout(POLL_INTERVAL_SECONDS):
                await self._client.getmany(timeout_ms=0)
        except (KafkaError, TimeoutError) as error:
            log.warning("fetch_failed", error=repr(error))

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            self._client.resume(*self._active_partitions())

    def _active_partitions(self) -> set[TopicPartition]:
        return set(self._positions.next_offsets) & set(self._client.assignment())

    async def _flush(self) -> None:
        for _ in range(2):  # the writes in flight, then what was buffered behind them
            self._buffers.start_all_writes()
            if writes := self._buffers.writes_in_flight():
                await asyncio.wait(writes)
                await self._collect_finished_writes()
