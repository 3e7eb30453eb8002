"""A client's part in the group: it joins, the leader assigns, heartbeats go on, and the callbacks are awaited as in aiokafka.

`on_partitions_revoked` is awaited before the member joins again, with heartbeats going on, and `on_partitions_assigned` before
the first heartbeat. What a callback raises is swallowed. The old assignment stays in sight until the new one is there, so its
offsets can be committed. A commit that is sent behind JoinGroup has the generation of before, and is refused once the group has
been joined; then the member joins once more.
"""

import asyncio
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    IllegalStateError,
    KafkaConnectionError,
    KafkaError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)

from tests.simulation.event_loop import Handle
from tests.simulation.kafka.broker import Assignment
from tests.simulation.kafka.connection import RETRY_SECONDS, Connection
from tests.simulation.kafka.fetching import Fetches

# Kafka does not know this member, or not in this generation.
FORGOTTEN: Final = (UnknownMemberIdError, IllegalGenerationError)


class Membership:
    """`leads` is whether this member leads the group, and so watches for new partitions."""

    def __init__(
        self, connection: Connection, fetches: Fetches, instance_id: str | None, session_seconds: float
    ) -> None:
        self.topics: frozenset[str] = frozenset()
        self.member_id = ""
        self.generation = 0
        self.leads = False
        self.user_data = 0
        self._connection = connection
        self._broker = connection.broker
        self._process = connection.process
        self._fetches = fetches
        self._instance_id = instance_id
        self._heartbeat_seconds = max(0.3, session_seconds / 4)
        self._listener: Any = None
        self._closed = False
        self._rejoin = asyncio.Event()
        self._coordination: asyncio.Task[None] | None = None
        self._heart: Handle | None = None

    def subscribe(self, topics: frozenset[str], listener: Any) -> None:
        self.topics, self._listener = topics, listener
        self._fetches.discard()
        self._fetches.begin_reassignment()
        if self._coordination is None:
            self._coordination = asyncio.create_task(self._coordinate(), name="coordination")
            self._coordination.add_done_callback(_raise)
        self._rejoin.set()

    def request_rejoin(self) -> None:
        """The metadata has changed: a topic has more partitions."""
        self._rejoin.set()

    async def commit(self) -> None:
        """Commit offsets. Its answer has its effect even when nothing waits for it any more.

        Raises:
            CommitFailedError: Kafka has refused it.
        """
        while True:
            try:
                committing = asyncio.create_task(self._commit())
                committing.add_done_callback(_retrieve)
                return await asyncio.shield(committing)
            except (*FORGOTTEN, RebalanceInProgressError) as error:
                raise CommitFailedError from error
            except KafkaConnectionError:
                continue

    async def _commit(self) -> None:
        try:
            await self._connection.ask(self._broker.group.commit, self.member_id, self.generation)
        except (*FORGOTTEN, RebalanceInProgressError) as error:
            self._learn(error)
            raise

    def close(self) -> None:
        """Join no more."""
        self._closed = True

    async def leave(self) -> None:
        """Stop taking part; a static member stays in the group until its session ends."""
        self.close()
        if self._coordination and not self._coordination.done():
            self._rejoin.set()
            await self._coordination
        self._stop_heart()
        if self.member_id and self._instance_id is None:
            await asyncio.sleep(self._broker.latency())
            if not self._connection.is_broken():
                self._broker.group.leave(self.member_id)

    async def _coordinate(self) -> None:
        prepared = False
        while not self._closed:
            await self._rejoin.wait()
            if self._closed:
                return  # type: ignore[unreachable]  # closed meanwhile
            if not prepared:
                await self._prepare_to_join()
                prepared = True
            self._stop_heart()
            try:
                topics = self.topics
                partitions = await self._join()
                if topics != self.topics:
                    raise IllegalStateError("the subscription has changed")
            except KafkaError as error:
                self._learn(error)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            await self._complete_join(partitions)
            prepared = False
            self._start_heart()

    async def _prepare_to_join(self) -> None:
        self._fetches.begin_reassignment()
        assigned = self._fetches.assigned
        try:
            await self._listener.on_partitions_revoked(set(assigned.states) if assigned else set())
        except Exception:  # noqa: BLE001 - as aiokafka does it
            return

    async def _complete_join(self, partitions: list[TopicPartition]) -> None:
        self._fetches.reassign(partitions)
        try:
            await self._listener.on_partitions_assigned(set(partitions))
        except Exception:  # noqa: BLE001 - as aiokafka does it
            return
        finally:
            self._fetches.send()

    async def _join(self) -> list[TopicPartition]:
        group = self._broker.group
        generation, member_id, topics = await self._connection.ask(
            group.join, self.member_id, self._instance_id, (self.topics, self.user_data)
        )
        self.member_id, self.generation = member_id, generation
        self.leads = topics is not None
        assignment = None if topics is None else self._assign(topics)
        self._rejoin.clear()  # only what comes from now on makes it join once more
        partitions: list[TopicPartition] = await self._connection.ask(group.sync, member_id, generation, assignment)
        self.member_id, self.generation = member_id, generation  # a refused commit may have reset them meanwhile
        return partitions

    def _assign(self, topics: dict[str, frozenset[str]]) -> Assignment:
        """Round robin, as the leader computes it."""
        members = sorted(topics)
        assignment: Assignment = {member: [] for member in members}
        for index, partition in enumerate(self._broker.partitions_of(set().union(*topics.values()))):
            candidates = [member for member in members if partition.topic in topics[member]]
            assignment[candidates[index % len(candidates)]].append(partition)
        return assignment

    # Heartbeats

    def _start_heart(self) -> None:
        self._heart = self._process.scheduler.call_later(self._heartbeat_seconds, self._beat)

    def _stop_heart(self) -> None:
        if self._heart:
            self._heart.cancel()
            self._heart = None

    def _beat(self) -> None:
        if self._process.dead:
            return
        self._heart = self._process.scheduler.call_later(self._heartbeat_seconds, self._beat)
        if not self._process.frozen and not self._connection.is_broken():
            self._connection.send(self._broker.group.heartbeat, self.member_id, self.generation, self._beaten)

    def _beaten(self, result: Any, error: KafkaError | None) -> None:
        if error is not None and self._heart is not None and not self._process.dead:
            self._process.call_soon(self._learn, error)

    def _learn(self, error: KafkaError) -> None:
        if isinstance(error, FORGOTTEN):
            self.member_id, self.generation = "", -1
            self._stop_heart()
        self._rejoin.set()


def _retrieve(task: asyncio.Task[None]) -> None:
    """asyncio would report the error of a commit that nothing waits for any more."""
    if not task.cancelled():
        task.exception()


def _raise(task: asyncio.Task[None]) -> None:
    """An error of the model itself must not be lost."""
    if not task.cancelled():
        task.result()
