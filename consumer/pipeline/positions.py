"""Partition positions: the next offset of every partition this process may read, from PostgreSQL and never from Kafka.

paused -> read the stored offset -> seek to the last record taken -> resume -> it comes back unchanged (log_identity) -> read on
                (its row is halted)────> halted until an operator decides <────(it does not: another log)
                                                   ^
offset out of range ─> compare with the log, twice ┘

Kafka is not asked before a partition is resumed: one whose leader is away waits by itself.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from consumer.formats.errors import RegistryUnavailableError
from consumer.kafka.fetch_state import LeaderConnections, fetch_positions
from consumer.kafka.log_offsets import log_ranges
from consumer.monitoring.health import Health
from consumer.monitoring.metrics import Metrics
from consumer.pipeline.breaker import Breaker
from consumer.pipeline.log_identity import OtherLogError, Rereading
from consumer.pipeline.position_reports import PositionReports
from consumer.pipeline.topic_buffer import TopicBuffers
from consumer.records.record import Record
from consumer.retry import retry_forever
from consumer.storage.errors import is_misuse
from consumer.storage.offsets import StoredOffset, StoredOffsets, gap_between
from sql.connection import DATABASE_ERRORS

log = structlog.get_logger(__name__)

WRITTEN_CHECK_SECONDS: Final = 0.05
LEADER_CHECK_SECONDS: Final = 1.0
SECOND_LOOK_SECONDS: Final = 5.0  # a new leader may not know the end of its log yet
NextOffsets = dict[TopicPartition, int]


@dataclass(frozen=True, slots=True)
class Scan:
    """What a fetch has passed over in one partition: offsets from its next one on, and the records at them."""

    offsets: range
    records: list[Record]


class PartitionPositions:
    """The assigned partitions, and where each continues.

    `next_offsets` has every partition that may be read. It is replaced, never reused, when partitions are revoked, so that code
    which still holds the old one cannot disturb the new one. `stored` has the offset of every assigned partition, readable or
    not, as last read from the database. `halted` has the reason of each partition that waits for an operator's decision.
    """

    def __init__(
        self,
        client: AIOKafkaConsumer,
        offsets: StoredOffsets,
        breaker: Breaker,
        buffers: TopicBuffers,
        metrics: Metrics,
        health: Health,
    ) -> None:
        self._client = client
        self._offsets = offsets
        self._breaker = breaker
        self._buffers = buffers
        self._reports = PositionReports(metrics, health)
        self._connections = LeaderConnections(client)
        self._tasks: set[asyncio.Task[None]] = set()
        self._restoring: set[TopicPartition] = set()
        self._stopped: set[TopicPartition] = set()  # partitions of topics whose breaker is open
        self._rereading: dict[TopicPartition, Rereading] = {}  # the client is still before the next offset
        self.failure: BaseException | None = None  # raised by a background task
        self.next_offsets: NextOffsets = {}
        self.stored: dict[TopicPartition, int] = {}
        self.halted: dict[TopicPartition, str] = {}

    async def revoke_all(self) -> None:
        """Stop reading all partitions; afterwards their writes have finished or were cancelled."""
        self.clear()
        await self._buffers.drain()

    async def restart(self) -> None:
        """Discard all positions and read them from the database again."""
        await self.revoke_all()
        self.clear()  # a rebalance during the drain may have begun a restore
        self.restore(self._client.assignment())

    def clear(self) -> None:
        self.next_offsets = {}
        self.stored = {}
        self.halted = {}
        self._rereading = {}
        self._connections.clear()
        self._stopped = set()
        self._restoring = set()
        for task in self._tasks:
            task.cancel()
        self._reports.clear()

    def restore(self, partitions: Iterable[TopicPartition]) -> None:
        """Start to move partitions to their stored offsets, in the background; each is paused until it is there.

        A partition with unwritten records is restored once they are written: its stored offset is not final before.
        """
        restored = (set(partitions) & self._client.assignment()) - self._restoring
        self._suspend(restored)
        unwritten = restored & self._buffers.unwritten_partitions()
        for each in (restored - unwritten, *({partition} for partition in unwritten)):
            self._start(self._restore, each)

    def apply_breaker(self) -> None:
        """Stop the topics whose breaker is open, and restore the partitions of those that may be read again."""
        stopped = {each for each in self.next_offsets if each.topic in self._breaker.stopped}
        self._withdraw(stopped)
        self._stopped |= stopped
        resumed = {each for each in self._stopped if each.topic not in self._breaker.stopped}
        self._stopped -= resumed
        self.restore(resumed)

    def align_client(self) -> None:
        """Seek back where the client's position is not ours: records were fetched that nothing consumed.

        To be called before each fetch. It makes the offsets of `take_scans` those of the one fetch in between.
        """
        positions = fetch_positions(self._client)
        for partition in self.next_offsets:
            expected = self._expected_position(partition)
            if positions.get(partition, expected) != expected:
                self._client.seek(partition, expected)

    def take_scans(self, fetched: Mapping[TopicPartition, list[Record]]) -> dict[TopicPartition, Scan]:
        """What the last fetch has passed over, of partitions that may be read; to be called right after it has succeeded.

        Halts the partitions whose log is not the one that their stored offset belongs to.
        """
        if changed := self._connections.changed(self.next_offsets):
            self.verify(changed)
        positions = fetch_positions(self._client)
        scans = {}
        for partition, next_offset in list(self.next_offsets.items()):
            position, records = positions.get(partition, 0), fetched.get(partition, [])
            if partition in self._rereading:
                records = self._reread(partition, position, records)
            if position > next_offset and partition in self.next_offsets:
                scans[partition] = Scan(range(next_offset, position), records)
        return scans

    def is_at(self, partition: TopicPartition, offset: int, next_offsets: NextOffsets) -> bool:
        """Whether a partition still continues at an offset: it was not revoked, withdrawn or restored since `take_scans`."""
        return (
            next_offsets is self.next_offsets
            and next_offsets.get(partition) == offset
            and partition not in self._rereading
        )

    def verify(self, partitions: Iterable[TopicPartition]) -> None:
        """Read those of the partitions that may be read again from their last record on: their logs may have lost records."""
        self.restore(set(partitions) & self.next_offsets.keys())

    def wait_for_schema(self, partition: TopicPartition, load: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Stop reading a partition until `load` has returned; it is repeated while the schema registry is away."""
        self._suspend({partition})
        self._start(self._load_schema, {partition}, load)

    def waiting_for_last_record(self) -> set[TopicPartition]:
        """The partitions that wait for records that they had before."""
        return set(self._rereading)

    def compare_with_log(self, partitions: Iterable[TopicPartition]) -> None:
        """Find out in the background why Kafka has no offset to continue at."""
        out_of_range = set(partitions) & self.next_offsets.keys()
        self._suspend(out_of_range)
        for each in out_of_range:
            self._start(self._compare_with_log, {each})

    def _expected_position(self, partition: TopicPartition) -> int:
        rereading = self._rereading.get(partition)
        return rereading.position if rereading else self.next_offsets[partition]

    def _reread(self, partition: TopicPartition, position: int, records: list[Record]) -> list[Record]:
        """The records that were not taken before, of a partition that is read again from its last record on."""
        next_offset = self.next_offsets[partition]
        try:
            rereading = self._rereading.pop(partition).proceed(records, position, next_offset)
        except OtherLogError as error:
            self._suspend({partition})
            self._start(self._halt, {partition}, next_offset, str(error))
            return []
        if rereading:
            self._rereading[partition] = rereading
        return [record for record in records if record.offset >= next_offset]

    def _withdraw(self, partitions: set[TopicPartition]) -> None:
        self._client.pause(*(partitions & self._client.assignment()))
        for partition in partitions:
            self.next_offsets.pop(partition, None)
            self._rereading.pop(partition, None)

    def _suspend(self, partitions: set[TopicPartition]) -> None:
        self._withdraw(partitions)
        self._restoring |= partitions

    def _start(
        self, work: Callable[..., Coroutine[Any, Any, None]], partitions: set[TopicPartition], *args: Any
    ) -> None:
        if partitions:
            task = asyncio.create_task(work(partitions, self.next_offsets, *args), name="restore")
            self._tasks.add(task)
            task.add_done_callback(self._finish)

    def _finish(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception():
            self.failure = task.exception()

    async def _restore(self, partitions: set[TopicPartition], next_offsets: NextOffsets) -> None:
        stored = await self._read(partitions)
        if next_offsets is not self.next_offsets:
            return
        self._reports.restored()
        for partition, offset in stored.items():
            self._place(partition, offset)
        self._reports.halted(self.halted)
        self._start(self._insert_missing, partitions - stored.keys())

    async def _read(self, partitions: set[TopicPartition]) -> dict[TopicPartition, StoredOffset]:
        while partitions & self._buffers.unwritten_partitions():  # noqa: ASYNC110 - the poll loop collects the writes
            await asyncio.sleep(WRITTEN_CHECK_SECONDS)
        async for attempt in retry_forever(*DATABASE_ERRORS, unless=is_misuse):
            with attempt, self._reports.database_errors(attempt.next_wait):
                stored = await self._offsets.read(partitions)
        return stored

    async def _insert_missing(self, partitions: set[TopicPartition], next_offsets: NextOffsets) -> None:
        """Let partitions that this group reads for the first time start at the beginning of their log, once it is known."""
        while partitions and next_offsets is self.next_offsets:
            ranges, _ = await log_ranges(self._client, partitions)
            async for attempt in retry_forever(*DATABASE_ERRORS, unless=is_misuse):
                with attempt, self._reports.database_errors(attempt.next_wait):
                    await self._offsets.insert_missing({each: found.beginning for each, found in ranges.items()})
            if next_offsets is self.next_offsets:
                self._restoring -= ranges.keys()
                self.restore(ranges.keys())
            partitions = partitions - ranges.keys()
            if partitions:
                await asyncio.sleep(LEADER_CHECK_SECONDS)

    async def _compare_with_log(self, partitions: set[TopicPartition], next_offsets: NextOffsets) -> None:
        """Halt a partition whose stored offset is outside of its log, now and some seconds later."""
        (partition,) = partitions
        suspected: StoredOffset | None = None
        while True:
            stored = (await self._read(partitions)).get(partition)
            ranges, _ = await log_ranges(self._client, partitions)  # asked after all writes: a log only grows
            if next_offsets is not self.next_offsets:
                return
            if stored is None or stored.halt_reason:
                break
            if found := ranges.get(partition):
                gap = gap_between(stored.next_offset, found.beginning, found.end)
                if gap is None and stored.last_record and stored.last_record.offset < found.beginning:
                    # retention has deleted the last record
                    self._place(partition, stored, Rereading(found.beginning, None))
                    return
                if gap is None:
                    await asyncio.sleep(LEADER_CHECK_SECONDS)
                    break
                if stored == suspected:
                    await self._halt(partitions, next_offsets, stored.next_offset, gap)
                    return
                log.warning("offset_out_of_range", **_names(partition), gap=gap, second_look_in=SECOND_LOOK_SECONDS)
                suspected = stored
            await asyncio.sleep(SECOND_LOOK_SECONDS)
        self._restoring.discard(partition)
        self.restore(partitions)

    async def _halt(
        self, partitions: set[TopicPartition], next_offsets: NextOffsets, expected_offset: int, reason: str
    ) -> None:
        """Store the halt, then restore the partition: it is halted, or another consumer or an operator has moved its offset."""
        (partition,) = partitions
        async for attempt in retry_forever(*DATABASE_ERRORS, unless=is_misuse):
            with attempt, self._reports.database_errors(attempt.next_wait):
                await self._offsets.halt(partition, expected_offset, reason)
        if next_offsets is self.next_offsets:
            self._restoring.discard(partition)
            self.restore(partitions)

    async def _load_schema(
        self,
        partitions: set[TopicPartition],
        next_offsets: NextOffsets,
        load: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        (partition,) = partitions
        async for attempt in retry_forever(RegistryUnavailableError):
            with attempt:
                try:
                    await load()
                except RegistryUnavailableError as error:
                    self._reports.waits_for_schema(partition, error)
                    raise
        if next_offsets is self.next_offsets:
            self._reports.waits_for_schema(partition, None)
            self._restoring.discard(partition)
            self.restore(partitions)

    def _place(self, partition: TopicPartition, offset: StoredOffset, rereading: Rereading | None = None) -> None:
        """Continue at a stored offset, after `rereading` what is in the log before it (from the last record on by default)."""
        self._restoring.discard(partition)
        if partition not in self._client.assignment():  # it may be revoked already, before the callback says so
            return
        self.stored[partition] = offset.next_offset
        if offset.halt_reason is not None:
            if self.halted.get(partition) != offset.halt_reason:
                log.error("partition_halted", **_names(partition), gap=offset.halt_reason)
            self.halted[partition] = offset.halt_reason
            return
        if self.halted.pop(partition, None):
            log.info("partition_resumed", **_names(partition), offset=offset.next_offset)
            self._reports.halted(self.halted)
        if partition.topic in self._breaker.stopped:
            self._stopped.add(partition)
            return
        self.next_offsets[partition] = offset.next_offset
        if rereading is None and offset.last_record:
            rereading = Rereading.after(offset.last_record)
        if rereading and rereading.position < offset.next_offset:
            self._rereading[partition] = rereading
        self._connections.remember(partition)
        self._client.seek(partition, self._expected_position(partition))
        self._client.resume(partition)


def _names(partition: TopicPartition) -> dict[str, Any]:
    return {"topic": partition.topic, "partition": partition.partition}
