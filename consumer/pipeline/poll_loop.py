"""fetch -> decode -> Batch -> write: while a topic's batch is being written, the next is fetched and decoded.

getmany ──> Decoder ──> Lane: BatchBuilder ──(full, or has waited long enough)──> Writer ──> Store.write ──> Metrics
   ^                                                                                |
   └──────────── Assignment: positions from the database, after each rebalance ─────┘
"""

import asyncio
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from consumer.kafka.fetching import check_alive
from consumer.kafka.static_membership import StaticMembership
from consumer.monitoring.health import Health
from consumer.monitoring.metrics import Metrics
from consumer.pipeline.batch_writer import Writer
from consumer.pipeline.breaker import Breaker
from consumer.pipeline.rebalance import Assignment
from consumer.pipeline.topic_buffer import TopicBuffer
from consumer.records.batch import BatchBuilder, BatchResult
from consumer.records.decode import Decoder
from consumer.records.record import Record
from consumer.settings import ConsumerSettings
from consumer.storage.offsets import StoredOffsets
from schemas.records.readings import TimeLimits

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
        writer: Writer,
        stored: StoredOffsets,
        breaker: Breaker,
        decoders: Mapping[str, Decoder],
        metrics: Metrics,
        health: Health,
    ) -> None:
        self._settings = settings
        self._consumer = consumer
        self._writer = writer
        self._breaker = breaker
        self._decoders = decoders
        self._health = health
        longest_wait = settings.batch_max_wait_ms / 1000
        self._buffers = {topic: TopicBuffer(settings.batch_max_records, longest_wait) for topic in decoders}
        self._held = False
        namesake = StaticMembership(settings, consumer)
        self.assignment = Assignment(consumer, stored, breaker, metrics, health, self._let_go, namesake)

    @property
    def written(self) -> dict[TopicPartition, int]:
        """Up to which offset each partition was written."""
        return self._writer.written

    @property
    def throughput(self) -> tuple[int, float]:
        """Records written so far, and the seconds that took; waits for the database are left out."""
        return self._writer.throughput

    async def run(self, stop: asyncio.Event) -> None:
        """Move records until `stop` is set, then write what has been collected, within the time the settings give."""
        while not stop.is_set():
            self._health.beat()
            self.assignment.raise_failure()
            check_alive(self._consumer)
            await self._settle()
            self._begin(lane for lane in self._buffers.values() if lane.due())
            await self._fetch()
        try:
            async with asyncio.timeout(self._settings.shutdown_timeout_seconds):
                await self._write_the_rest()
        except TimeoutError:
            log.warning(
                "stopped_with_a_batch_unwritten", records=sum(len(lane.builder) for lane in self._buffers.values())
            )

    def oldest_unwritten(self) -> dict[TopicPartition, int]:
        """Kafka timestamp (ms) of the oldest record in hand, for each partition that has one."""
        return {partition: span.oldest for lane in self._buffers.values() for partition, span in lane.spans().items()}

    def in_hand(self) -> set[TopicPartition]:
        """The partitions that have records taken and not yet written."""
        return {partition for lane in self._buffers.values() for partition in lane.spans()}

    async def _fetch(self) -> None:
        if not self._consumer.subscription():
            await asyncio.sleep(IDLE_FETCH_MS / 1000)
            return
        ours = self._consumer.assignment()
        open_ = {partition for partition in ours if self._buffers[partition.topic].room}
        if ours and not open_:
            await self._wait_for_room()
            return
        self._go_on()
        builders = {topic: lane.builder for topic, lane in self._buffers.items()}
        positions = self.assignment.positions
        fetched = await self._ask(open_)
        if positions is not self.assignment.positions:
            self.assignment.rewind(fetched)
            return
        limits = TimeLimits.at(datetime.now(UTC), self._settings.retention_days)
        for partition, records in fetched.items():
            await self._take(partition, records, builders[partition.topic], positions, limits)

    async def _ask(self, partitions: set[TopicPartition]) -> dict[TopicPartition, list[Record]]:
        """Records of these partitions, not more than each of their lanes has room for."""
        room = min((self._buffers[partition.topic].room for partition in partitions), default=1)
        patience = self._patience_ms()
        try:
            # while the group is joined the client waits without bound, and hands out nothing
            async with asyncio.timeout(patience / 1000 + KEEP_POLLING_SECONDS):
                fetched: dict[TopicPartition, list[Record]] = await self._consumer.getmany(
                    *partitions, timeout_ms=patience, max_records=room
                )
        except TimeoutError:
            return {}
        except OffsetOutOfRangeError as error:
            log.error("offset_out_of_range", detail=str(error))
            await self.assignment.start_over()
            return {}
        except KafkaError as error:
            self._health.waits("kafka", f"Kafka cannot be read: {error}")
            log.warning("fetch_failed", error=repr(error))
            await asyncio.sleep(1)
            return {}
        self._health.goes_on("kafka")
        return fetched

    async def _take(
        self,
        partition: TopicPartition,
        records: list[Record],
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
            builder.add(partition, position, part, self._log_end(partition), decoder.record_type, decoded)
            positions[partition] = part[-1].offset + 1
            await asyncio.sleep(0)

    def _log_end(self, partition: TopicPartition) -> int:
        """Where the broker said that the partition ends, 0 when it is no longer ours to ask."""
        ours = partition in self._consumer.assignment()
        return (self._consumer.highwater(partition) or 0) if ours else 0

    def _patience_ms(self) -> int:
        """How long a fetch may wait for records: until a batch is due; when it is, until the write before it may have ended."""
        left = [
            max(patience * 1000, 0 if lane.idle else BUSY_FETCH_MS)
            for lane in self._buffers.values()
            if (patience := lane.patience()) is not None
        ]
        return int(min([IDLE_FETCH_MS, *left]))

    def _begin(self, lanes: Iterable[TopicBuffer]) -> None:
        for lane in lanes:
            if lane.idle and len(lane.builder):
                lane.begin(lambda batch: asyncio.create_task(self._writer.write(batch), name="write"))

    async def _settle(self) -> None:
        """See what became of the writes that have ended."""
        ended = [writing for lane in self._buffers.values() if (writing := lane.settle())]
        if sum(self._writer.was_fenced(writing) for writing in ended):
            await self.assignment.start_over()

    def _under_way(self) -> set[asyncio.Task[BatchResult]]:
        return {lane.writing for lane in self._buffers.values() if lane.writing}

    async def _wait_for_room(self) -> None:
        """Wait for a write to end. When it takes long, poll Kafka with the partitions paused, to stay in the group."""
        ended, _ = await asyncio.wait(
            self._under_way(), timeout=KEEP_POLLING_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        if ended:
            return
        self._held = True
        self._consumer.pause(*self._flowing())
        try:
            async with asyncio.timeout(KEEP_POLLING_SECONDS):
                self.assignment.rewind(await self._consumer.getmany(timeout_ms=0))
        except (KafkaError, TimeoutError) as error:
            log.warning("fetch_failed", error=repr(error))

    def _go_on(self) -> None:
        if self._held:
            self._held = False
            self._consumer.resume(*self._flowing())

    def _flowing(self) -> set[TopicPartition]:
        return set(self.assignment.positions) & set(self._consumer.assignment())

    async def _write_the_rest(self) -> None:
        for _ in range(2):  # what is under way, then what was collected behind it
            self._begin(self._buffers.values())
            if under_way := self._under_way():
                await asyncio.wait(under_way)
                await self._settle()

    async def _let_go(self) -> None:
        """Partitions are being taken away: drop what was collected, and let the writes under way end, or end them."""
        writings = {writing for lane in self._buffers.values() if (writing := lane.drop())}
        if writings:
            _, late = await asyncio.wait(writings, timeout=self._settings.kafka_session_timeout_ms / 3000)
            if late:
                log.warning("write_abandoned", reason="the partitions are taken away and the database does not answer")
                await _give_up(late)
            for writing in writings:
                if writing.done() and not writing.cancelled():
                    self._writer.was_fenced(writing)
        self._writer.forget()


async def _give_up(writings: set[asyncio.Task[BatchResult]]) -> None:
    """Cancel writes, again where one catches it, and not for ever: a server that is silent holds up the driver's good-bye, and
    others wait for our partitions. What is left behind can do no harm, for the claim refuses it.
    """
    for _ in range(3):
        for writing in writings:
            writing.cancel()
        _, writings = await asyncio.wait(writings, timeout=1)
        if not writings:
            return
