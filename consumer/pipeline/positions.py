"""Partition positions: the next offset of every partition this process may read, from PostgreSQL and never from Kafka.

paused -> read the stored offset -> seek to the last record taken -> resume -> the first record must be that one -> read on
                (its row is halted)────> halted until an operator decides <────(it is another record: another log)
                                          ^
offset out of range ─> compare with the log, twice ┘

Kafka is not asked before a partition is resumed: one whose leader is away waits by itself.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from consumer.kafka.fetch_state import fetch_positions, leaders, metadata_version
from consumer.kafka.log_offsets import log_ranges
from consumer.monitoring.health import Health
from consumer.monitoring.metrics import Metrics
from consumer.pipeline.breaker import Breaker
from consumer.pipeline.topic_buffer import TopicBuffers
from consumer.records.record import Record, record_hash
from consumer.retry import retry_forever
from consumer.storage.errors import is_misuse
from consumer.storage.offsets import LastRecord, StoredOffset, StoredOffsets, gap_between
from sql.connection import DATABASE_ERRORS

log = structlog.get_logger(__name__)

WATCH_SECONDS: Final = 1.0
WRITTEN_CHECK_SECONDS: Final = 0.05
LEADER_CHECK_SECONDS: Final = 1.0
SECOND_LOOK_SECONDS: Final = 5.0  # a new leader may not know the end of its log yet
NextOffsets = dict[TopicPartition, int]


@dataclass(frozen=True, slots=True)
class Scan:
    """What a fetch has passed over in one partition, from its next offset on; with the record that must come first, if any."""

    offsets: range
    last_record: LastRecord | None


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
        self._metrics = metrics
        self._health = health
        self._tasks: set[asyncio.Task[None]] = set()
        self._restoring: set[TopicPartition] = set()
        self._stopped: set[TopicPartition] = set()  # partitions of topics whose breaker is open
        self._unverified: dict[TopicPartition, LastRecord] = {}  # the client is at this record, not at the next offset
        self._leaders: dict[TopicPartition, int] = {}
        self._metadata_version = 0.0
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
        self._unverified = {}
        self._leaders = {}
        self._stopped = set()
        self._restoring = set()
        for task in self._tasks:
            task.cancel()
        self._metrics.clear_lag()
        self._report_unavailable(None)
        self._report_halted()

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

        To be called before each fetch. It makes the offsets of `scanned` those of the one fetch in between.
        """
        positions = fetch_positions(self._client)
        for partition, next_offset in self.next_offsets.items():
            unverified = self._unverified.get(partition)
            expected = unverified.offset if unverified else next_offset
            if positions.get(partition, expected) != expected:
                self._client.seek(partition, expected)

    def scanned(self) -> dict[TopicPartition, Scan]:
        """What the last fetch has passed over, of partitions that may be read; to be called right after it has succeeded."""
        self._verify_new_leaders()
        positions = fetch_positions(self._client)
        scans = {}
        for partition, next_offset in self.next_offsets.items():
            position = positions.get(partition, 0)
            unverified = self._unverified.get(partition)
            if position > (unverified.offset if unverified else next_offset):
                scans[partition] = Scan(range(next_offset, position), self._unverified.pop(partition, None))
        return scans

    def is_at(self, partition: TopicPartition, offset: int, next_offsets: NextOffsets) -> bool:
        """Whether a partition still continues at an offset: it was not withdrawn or restored since `scanned`."""
        return next_offsets.get(partition) == offset and partition not in self._unverified

    def unread(self, partition: TopicPartition, scan: Scan, records: list[Record]) -> list[Record]:
        """The records that were not taken before. Halts the partition when the log is not the one that they were taken from."""
        if scan.last_record is None:
            return records
        # Others between the last record and the next offset were taken by a version that did not store the last record.
        taken = [record for record in records if record.offset < scan.offsets.start]
        found = next((each for each in taken if each.offset == scan.last_record.offset), None)
        if found is None or record_hash(found) == scan.last_record.hash:
            return records[len(taken) :]
        reason = (
            f"offset {found.offset} holds another record than the one that was read there: "
            "the topic was recreated or its log was truncated"
        )
        self._suspend({partition})
        self._start(self._halt, {partition}, scan.offsets.start, reason)
        return []

    def compare_with_log(self, partitions: Iterable[TopicPartition]) -> None:
        """Find out in the background why Kafka has no offset to continue at."""
        out_of_range = set(partitions) & self.next_offsets.keys()
        self._suspend(out_of_range)
        for each in out_of_range:
            self._start(self._compare_with_log, {each})

    async def watch(self) -> None:
        """Once a second, find stored offsets that have moved without us: halted, or a database that went back in time."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            await self._find_short_logs()
            try:
                await self.refresh()
            except DATABASE_ERRORS as error:
                log.debug("stored_offsets_not_watched", error=repr(error))

    async def refresh(self) -> None:
        """Read `stored` again, and restore the partitions that do not continue where the database says."""
        before, next_offsets = self._idle(), self.next_offsets
        stored = await self._offsets.watch(self._client.assignment())
        if next_offsets is not self.next_offsets:
            return
        after = self._idle()
        moved = {
            partition
            for partition, offset in before.items()
            if after.get(partition) == offset
            and (partition not in stored or stored[partition].next_offset != offset or stored[partition].halt_reason)
        }
        for partition in moved:
            found = stored[partition].next_offset if partition in stored else None
            log.warning("stored_offset_moved", **_names(partition), expected=before[partition], stored=found)
            self._metrics.stored_offsets_moved.inc()
        decided = {
            each for each, reason in self.halted.items() if each not in stored or stored[each].halt_reason != reason
        }
        self.stored.update({each: offset.next_offset for each, offset in stored.items()})
        self.restore(moved | decided)

    async def _find_short_logs(self) -> None:
        """Compare partitions with their log that wait at their last record: a log may end there, without that record.

        Kafka takes the end of a log for an offset to wait at, and such a log holds records that would never be read.
        """
        next_offsets = self.next_offsets
        ranges, _ = await log_ranges(self._client, set(self._unverified)) if self._unverified else ({}, {})
        if next_offsets is self.next_offsets:
            waiting = self._unverified.keys() & ranges.keys()
            self.compare_with_log({each for each in waiting if ranges[each].end < next_offsets[each]})

    def _idle(self) -> NextOffsets:
        """The next offset of each readable partition of which everything fetched is written."""
        unwritten = self._buffers.unwritten_partitions()
        return {each: offset for each, offset in self.next_offsets.items() if each not in unwritten}

    def _verify_new_leaders(self) -> None:
        """Restore the partitions that have another leader: after an unclean election its log may lack records that were read."""
        version = metadata_version(self._client)
        if version == self._metadata_version:
            return
        self._metadata_version = version
        found = leaders(self._client, self.next_offsets)
        self.restore({each for each, leader in found.items() if self._leaders.get(each, leader) != leader})
        self._leaders |= found

    def _withdraw(self, partitions: set[TopicPartition]) -> None:
        self._client.pause(*(partitions & self._client.assignment()))
        for partition in partitions:
            self.next_offsets.pop(partition, None)
            self._unverified.pop(partition, None)

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
        self._health.unblock("starting")
        for partition, offset in stored.items():
            self._place(partition, offset)
        self._report_halted()
        self._start(self._insert_missing, partitions - stored.keys())

    async def _read(self, partitions: set[TopicPartition]) -> dict[TopicPartition, StoredOffset]:
        while partitions & self._buffers.unwritten_partitions():  # noqa: ASYNC110 - the poll loop collects the writes
            await asyncio.sleep(WRITTEN_CHECK_SECONDS)
        async for attempt in retry_forever(*DATABASE_ERRORS, unless=is_misuse):
            with attempt, self._reporting_errors(attempt.next_wait):
                stored = await self._offsets.read(partitions)
        return stored

    async def _insert_missing(self, partitions: set[TopicPartition], next_offsets: NextOffsets) -> None:
        """Let partitions that this group reads for the first time start at the beginning of their log, once it is known."""
        while partitions and next_offsets is self.next_offsets:
            ranges, _ = await log_ranges(self._client, partitions)
            async for attempt in retry_forever(*DATABASE_ERRORS, unless=is_misuse):
                with attempt, self._reporting_errors(attempt.next_wait):
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
                    self._place(partition, replace(stored, last_record=None))  # retention has deleted it
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
            with attempt, self._reporting_errors(attempt.next_wait):
                await self._offsets.halt(partition, expected_offset, reason)
        if next_offsets is self.next_offsets:
            self._restoring.discard(partition)
            self.restore(partitions)

    def _place(self, partition: TopicPartition, offset: StoredOffset) -> None:
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
            self._report_halted()
        if partition.topic in self._breaker.stopped:
            self._stopped.add(partition)
            return
        position = self.next_offsets[partition] = offset.next_offset
        if offset.last_record and offset.last_record.offset < offset.next_offset:
            self._unverified[partition] = offset.last_record
            position = offset.last_record.offset
        self._leaders.update(leaders(self._client, [partition]))
        self._client.seek(partition, position)
        self._client.resume(partition)

    @contextmanager
    def _reporting_errors(self, retry_in: float) -> Iterator[None]:
        try:
            yield
        except DATABASE_ERRORS as error:
            self._report_unavailable(f"the stored offsets cannot be read: {error}")
            log.warning("stored_offsets_unavailable", error=repr(error), retry_in=retry_in)
            raise
        self._report_unavailable(None)

    def _report_unavailable(self, detail: str | None) -> None:
        self._metrics.paused.labels("stored_offsets").set(1 if detail else 0)
        if detail:
            self._health.block("stored_offsets", detail)
        else:
            self._health.unblock("stored_offsets")

    def _report_halted(self) -> None:
        self._metrics.paused.labels("offset_gap").set(1 if self.halted else 0)
        if self.halted:
            gaps = "; ".join(f"{each.topic}-{each.partition}: {gap}" for each, gap in self.halted.items())
            self._health.block("offset_gap", f"an operator must decide about the gap, nothing is guessed: {gaps}")
        else:
            self._health.unblock("offset_gap")


def _names(partition: TopicPartition) -> dict[str, Any]:
    return {"topic": partition.topic, "partition": partition.partition}
