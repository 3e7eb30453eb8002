"""Which partitions are ours, and where each continues: from the database's offsets, never from Kafka's.

assigned -> pause -> read the stored offsets (for as long as it takes) -> check against the log -> seek -> resume
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Set
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

from consumer.backoff import Backoff
from consumer.kafka.static_membership import InstanceIdTakenError, StaticMembership
from consumer.monitoring.health import Health
from consumer.monitoring.metrics import Metrics
from consumer.pipeline.breaker import Breaker
from consumer.storage.gaps import gap_between
from consumer.storage.offsets import StoredOffsets
from sql.connection import DATABASE_ERRORS

log = structlog.get_logger(__name__)

PASSING: Final = (KafkaError, *DATABASE_ERRORS)
# Where a paused partition stands until the database has said where to go on. Without a position the client would ask Kafka for
# one, fetch nothing of the other partitions on that broker meanwhile, and might even end fetching (consumer/kafka/fetching.py).
# So never commit to Kafka without saying which offsets.
ANY: Final = 0


class Assignment(ConsumerRebalanceListener):  # type: ignore[misc]
    """Listens to rebalances. `positions` holds the next offset of every partition that may be read; it is replaced, never
    reused, when partitions are taken away, so that whoever still holds the old one can do no harm with it.
    """

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        stored: StoredOffsets,
        breaker: Breaker,
        metrics: Metrics,
        health: Health,
        let_go: Callable[[], Awaitable[None]],
        namesake: StaticMembership,
    ) -> None:
        self._consumer = consumer
        self._stored = stored
        self._breaker = breaker
        self._metrics = metrics
        self._health = health
        self._let_go = let_go
        self._namesake = namesake
        self._restoring: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self._holes: dict[TopicPartition, int] = {}
        self._resting: set[TopicPartition] = set()  # of topics that the breaker has stopped
        self.positions: dict[TopicPartition, int] = {}
        self.stored: dict[TopicPartition, int] = {}  # of all of ours, read or not: what the database said last
        self.halted: dict[TopicPartition, str] = {}

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """The group is about to share out its partitions anew; no member gets any before all have come back from here."""
        taken = False
        try:
            await self.release()
            if partitions := list(revoked):
                log.info("partitions_revoked", partitions=_names(partitions))
                taken = await self._namesake.is_taken_over()
        except Exception as error:  # noqa: BLE001 - aiokafka would log it and carry on
            self._failure = error
        if taken:
            self._failure = InstanceIdTakenError(self._namesake.name)
            await asyncio.Event().wait()  # coming back would join the group again, and take the partitions back

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Take over partitions. Returns at once: heartbeats only begin after it, and the database may be away."""
        partitions = set(assigned)
        try:
            self._consumer.pause(*partitions)  # before the first await: getmany must not hand out their records yet
            for partition in partitions:
                self._consumer.seek(partition, ANY)
        except Exception as error:  # noqa: BLE001 - aiokafka would log it and carry on
            self._failure = error
            return
        self._forget()
        self._namesake.joined()
        self._metrics.rebalances.inc()
        if not partitions:
            self._health.goes_on("starting")
        log.info("partitions_assigned", partitions=_names(partitions), member=self._namesake.member_id)
        self.restore(partitions)

    def raise_failure(self) -> None:
        """Raise what went wrong where nobody was listening: in a listener or in the background."""
        if self._failure:
            raise self._failure

    async def release(self) -> None:
        """Give up all partitions: nothing more is read of them, and no write of them is under way afterwards."""
        self._forget()
        await self._let_go()

    async def start_over(self) -> None:
        """Forget what we believed of our partitions and ask the database again."""
        await self.release()
        self._forget()  # the group may have been shared out anew meanwhile, and its restoring have begun
        partitions = set(self._consumer.assignment())
        if partitions:
            self._consumer.pause(*partitions)
            self.restore(partitions)

    def rewind(self, partitions: Iterable[TopicPartition]) -> None:
        """Records were handed out that nobody has taken: they were asked for before their partitions were given out anew, or
        while reading was held up. The client believes them read; go back to where we are.
        """
        for partition in partitions:
            if partition in self.positions:
                self._consumer.seek(partition, self.positions[partition])

    def believes_hole(self, partition: TopicPartition, position: int) -> bool:
        """Whether the offsets from `position` on are really missing: markers of transactions, compacted records.

        A hole is believed when it is still there after a seek to where it begins. Without that, one mistake in who reads what
        when would lose records, and the offsets stored would say that they were written.
        """
        if self._holes.get(partition) == position:
            return True
        log.info("hole_in_the_log", topic=partition.topic, partition=partition.partition, offset=position)
        self._holes[partition] = position
        if partition in self._consumer.assignment():
            self._consumer.seek(partition, position)
        return False

    def recheck_halted(self) -> None:
        """See whether an operator has settled the gap of a halted partition."""
        if self.halted and not self._is_restoring():
            self.restore(set(self.halted))

    def follow_breaker(self, in_hand: Set[TopicPartition]) -> None:
        """Stop the topics that must not be read, and go on with those that may be again.

        A partition with records in hand goes on once they are written: its stored offset is not the last word before.
        """
        for partition in [each for each in self.positions if each.topic in self._breaker.stopped]:
            if partition in self._consumer.assignment():
                self._consumer.pause(partition)
            del self.positions[partition]
            self._resting.add(partition)
        wakes = {each for each in self._resting - in_hand if each.topic not in self._breaker.stopped}
        if wakes and not self._is_restoring():
            self._resting -= wakes
            self.restore(wakes)

    def _is_restoring(self) -> bool:
        return self._restoring is not None and not self._restoring.done()

    def _forget(self) -> None:
        self.positions = {}
        self.stored = {}
        self.halted = {}
        self._resting = set()
        if self._restoring:
            self._restoring.cancel()
        self._metrics.forget_lag()
        self._waits_for_offsets(waiting=False)

    def restore(self, partitions: set[TopicPartition]) -> None:
        """Begin to bring partitions to their stored offsets; they stay paused until then."""
        self._restoring = asyncio.create_task(self._restore(partitions, self.positions), name="restore")
        self._restoring.add_done_callback(self._note_failure)

    def _note_failure(self, restoring: "asyncio.Task[None]") -> None:
        if not restoring.cancelled() and restoring.exception():
            self._failure = restoring.exception()

    async def _restore(self, partitions: set[TopicPartition], positions: dict[TopicPartition, int]) -> None:
        backoff = Backoff()
        while partitions:
            try:
                beginnings = await self._consumer.beginning_offsets(partitions)
                ends = await self._consumer.end_offsets(partitions)
                await self._stored.register(beginnings)
                stored = await self._stored.read(partitions)
                break
            except PASSING as error:
                self._waits_for_offsets(waiting=True)
                self._health.waits("stored_offsets", f"the stored offsets cannot be read: {error}")
                log.warning("stored_offsets_unavailable", error=repr(error), retry_in=backoff.next_seconds)
                await backoff.sleep()
        else:
            return
        self._waits_for_offsets(waiting=False)
        self._health.goes_on("starting")
        for partition in partitions:
            self._place(partition, stored[partition], beginnings[partition], ends[partition], positions)
        self._report_halted()

    def _place(
        self,
        partition: TopicPartition,
        stored: int,
        beginning: int,
        end: int,
        positions: dict[TopicPartition, int],
    ) -> None:
        if partition not in self._consumer.assignment():
            return  # taken away since, without a word yet
        gap = gap_between(stored, beginning, end)
        self.stored[partition] = stored
        if partition.topic in self._breaker.stopped:
            self._resting.add(partition)
            return
        if gap is None:
            positions[partition] = stored
            self._resting.discard(partition)
            self._consumer.seek(partition, stored)
            self._consumer.resume(partition)
            if self.halted.pop(partition, None):
                log.info("partition_resumed", topic=partition.topic, partition=partition.partition, offset=stored)
            return
        if self.halted.get(partition) != gap:
            log.error("partition_halted", topic=partition.topic, partition=partition.partition, gap=gap)
        self.halted[partition] = gap

    def _report_halted(self) -> None:
        self._metrics.paused.labels("offset_gap").set(1 if self.halted else 0)
        if self.halted:
            gaps = "; ".join(f"{each.topic}-{each.partition}: {gap}" for each, gap in self.halted.items())
            self._health.waits("offset_gap", f"nothing is guessed, an operator must decide: {gaps}")
        else:
            self._health.goes_on("offset_gap")

    def _waits_for_offsets(self, *, waiting: bool) -> None:
        self._metrics.paused.labels("stored_offsets").set(1 if waiting else 0)
        if not waiting:
            self._health.goes_on("stored_offsets")


def _names(partitions: Iterable[TopicPartition]) -> list[str]:
    return sorted(f"{each.topic}-{each.partition}" for each in partitions)
