"""Partition positions: the next offset of every partition this process may read, from PostgreSQL and never from Kafka.

paused -> read the stored offsets (retried while the database is away) -> compare with the log -> seek -> resume
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Set
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from consumer.kafka.log_offsets import LogRange, log_ranges
from consumer.monitoring.health import Health
from consumer.monitoring.metrics import Metrics
from consumer.pipeline.breaker import Breaker
from consumer.retry import retry_forever
from consumer.storage.offsets import StoredOffsets, gap_between
from sql.connection import DATABASE_ERRORS

log = structlog.get_logger(__name__)

# Waits between requests for the logs of partitions whose leader does not answer; an election takes about as long.
ELECTION_WAITS: Final = (0.1, 0.2, 0.4, 0.8)


class PartitionPositions:
    """The assigned partitions, and where each continues.

    `next_offsets` has every partition that may be read. It is replaced, never reused, when partitions are revoked, so that code
    which still holds the old one cannot disturb the new one. `stored` has the offset of every assigned partition, readable or
    not, as last read from the database. `halted` has the gap of each partition that waits for an operator's decision, and
    `unavailable` every partition whose leader did not answer.
    """

    def __init__(
        self,
        client: AIOKafkaConsumer,
        offsets: StoredOffsets,
        breaker: Breaker,
        drain: Callable[[], Awaitable[None]],  # TopicBuffers.drain
        metrics: Metrics,
        health: Health,
    ) -> None:
        self._client = client
        self._offsets = offsets
        self._breaker = breaker
        self._drain = drain
        self._metrics = metrics
        self._health = health
        self._restoring: asyncio.Task[None] | None = None
        self._suspected_holes: dict[TopicPartition, int] = {}
        self._stopped: set[TopicPartition] = set()  # partitions of topics whose breaker is open
        self.failure: BaseException | None = None  # raised by a background restore
        self.next_offsets: dict[TopicPartition, int] = {}
        self.stored: dict[TopicPartition, int] = {}
        self.halted: dict[TopicPartition, str] = {}
        self.unavailable: set[TopicPartition] = set()

    async def revoke_all(self) -> None:
        """Stop reading all partitions; afterwards their writes have finished or were cancelled."""
        self.clear()
        await self._drain()

    async def restart(self) -> None:
        """Discard all positions and read them from the database again."""
        await self.revoke_all()
        self.clear()  # a rebalance during the drain may have begun a restore
        partitions = set(self._client.assignment())
        if partitions:
            self._client.pause(*partitions)
            self.restore(partitions)

    def clear(self) -> None:
        self.next_offsets = {}
        self.stored = {}
        self.halted = {}
        self.unavailable = set()
        self._stopped = set()
        if self._restoring:
            self._restoring.cancel()
        self._metrics.clear_lag()
        self._report_restoring(blocked=False)

    def rewind(self, partitions: Iterable[TopicPartition]) -> None:
        """Seek back to our positions after records were fetched that nothing consumed.

        They were requested before a rebalance, or while reading was paused; the client counts them as read.
        """
        for partition in partitions:
            if partition in self.next_offsets:
                self._client.seek(partition, self.next_offsets[partition])

    def confirm_hole(self, partition: TopicPartition, position: int) -> bool:
        """Whether the offsets from `position` on are really missing: transaction markers, compacted records.

        A hole is confirmed when it is still there after a seek to its beginning. Without the second look, one mistake about
        which code consumes which records would lose some, and the stored offsets would say that they were written.
        """
        if self._suspected_holes.get(partition) == position:
            return True
        log.info("log_hole_found", topic=partition.topic, partition=partition.partition, offset=position)
        self._suspected_holes[partition] = position
        if partition in self._client.assignment():
            self._client.seek(partition, position)
        return False

    def recheck_halted(self) -> None:
        """Restore the halted partitions; one whose gap no operator has accepted halts again."""
        if self.halted and not self._is_restoring():
            self.restore(set(self.halted))

    def recheck_unavailable(self) -> None:
        """Restore the partitions whose leader did not answer."""
        if self.unavailable and not self._is_restoring():
            self.restore(set(self.unavailable))

    def apply_breaker(self, unwritten: Set[TopicPartition]) -> None:
        """Stop the topics whose breaker is open, and restore the partitions of those that may be read again.

        A partition with unwritten records is restored once they are written: its stored offset is not final before.
        """
        for partition in [each for each in self.next_offsets if each.topic in self._breaker.stopped]:
            if partition in self._client.assignment():
                self._client.pause(partition)
            del self.next_offsets[partition]
            self._stopped.add(partition)
        resumed = {each for each in self._stopped - unwritten if each.topic not in self._breaker.stopped}
        if resumed and not self._is_restoring():
            self._stopped -= resumed
            self.restore(resumed)

    def restore(self, partitions: set[TopicPartition]) -> None:
        """Start to move paused partitions to their stored offsets, in the background; each is resumed when it is there."""
        self._restoring = asyncio.create_task(self._restore(partitions, self.next_offsets), name="restore")
        self._restoring.add_done_callback(self._record_failure)

    def _is_restoring(self) -> bool:
        return self._restoring is not None and not self._restoring.done()

    def _record_failure(self, restoring: "asyncio.Task[None]") -> None:
        if not restoring.cancelled() and restoring.exception():
            self.failure = restoring.exception()

    async def _restore(self, partitions: set[TopicPartition], next_offsets: dict[TopicPartition, int]) -> None:
        """Place each partition as soon as its leader answers; the last ones are left to `recheck_unavailable`."""
        self.unavailable |= partitions
        for wait in (*ELECTION_WAITS, None):
            logs, _ = await log_ranges(self._client, partitions)
            await self._place_found(logs, next_offsets)
            self.unavailable -= logs.keys()
            partitions = partitions - logs.keys()
            if not partitions or wait is None:
                return
            await asyncio.sleep(wait)

    async def _place_found(
        self, logs: Mapping[TopicPartition, LogRange], next_offsets: dict[TopicPartition, int]
    ) -> None:
        if not logs:
            return
        stored = await self._read_stored(logs)
        self._health.unblock("starting")
        for partition, logged in logs.items():
            if partition in self._client.assignment():  # it may be revoked already, before the callback says so
                gap = gap_between(stored[partition], logged.beginning, logged.end)
                self._place(partition, stored[partition], gap, next_offsets)
        self._report_halted()

    async def _read_stored(self, logs: Mapping[TopicPartition, LogRange]) -> dict[TopicPartition, int]:
        """The stored offsets; partitions that this group reads for the first time start at the beginning of their log."""
        async for attempt in retry_forever(*DATABASE_ERRORS):
            with attempt:
                try:
                    await self._offsets.insert_missing({each: logged.beginning for each, logged in logs.items()})
                    stored = await self._offsets.read(logs)
                except DATABASE_ERRORS as error:
                    self._report_restoring(blocked=True)
                    self._health.block("stored_offsets", f"the stored offsets cannot be read: {error}")
                    log.warning("stored_offsets_unavailable", error=repr(error), retry_in=attempt.next_wait)
                    raise
        self._report_restoring(blocked=False)
        return stored

    def _place(
        self, partition: TopicPartition, stored: int, gap: str | None, next_offsets: dict[TopicPartition, int]
    ) -> None:
        self.stored[partition] = stored
        if partition.topic in self._breaker.stopped:
            self._stopped.add(partition)
        elif gap is None:
            next_offsets[partition] = stored
            self._stopped.discard(partition)
            self._client.seek(partition, stored)
            self._client.resume(partition)
            if self.halted.pop(partition, None):
                log.info("partition_resumed", topic=partition.topic, partition=partition.partition, offset=stored)
        else:
            if self.halted.get(partition) != gap:
                log.error("partition_halted", topic=partition.topic, partition=partition.partition, gap=gap)
            self.halted[partition] = gap

    def _report_halted(self) -> None:
        self._metrics.paused.labels("offset_gap").set(1 if self.halted else 0)
        if self.halted:
            gaps = "; ".join(f"{each.topic}-{each.partition}: {gap}" for each, gap in self.halted.items())
            self._health.block("offset_gap", f"an operator must decide about the gap, nothing is guessed: {gaps}")
        else:
            self._health.unblock("offset_gap")

    def _report_restoring(self, *, blocked: bool) -> None:
        self._metrics.paused.labels("stored_offsets").set(1 if blocked else 0)
        if not blocked:
            self._health.unblock("stored_offsets")
