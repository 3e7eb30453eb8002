"""aiokafka's consumer in front of the model of the broker, with the behaviour of aiokafka 0.14 that our code relies on.

SimulatedConsumer (the methods that our code calls) -> Fetches (fetching.py), Membership (membership.py) -> Connection -> Broker
"""

import asyncio
from collections.abc import Callable, Iterable
from operator import attrgetter
from types import SimpleNamespace
from typing import Any, Final, TypeVar

from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, OffsetResetStrategy
from aiokafka.errors import IllegalStateError, KafkaConnectionError, NotLeaderForPartitionError
from aiokafka.protocol.offset import OffsetRequest

from consumer.pipeline.poll_loop import IDLE_FETCH_MS
from consumer.records.record import Record
from tests.simulation.event_loop import ProcessLoop
from tests.simulation.kafka.broker import Broker
from tests.simulation.kafka.connection import RETRY_SECONDS, Connection
from tests.simulation.kafka.fetching import Fetches, PartitionState
from tests.simulation.kafka.membership import Membership

T = TypeVar("T")
IDLE_SECONDS: Final = 2.0  # of a fetch that finds nothing, at least; the poll loop would come back ten times as often
BROKER: Final = 1
POLL_RECORDS: Final = 500
ABSENCES: Final = attrgetter("absences")


class _Finished:
    """Stands for a background task of aiokafka: `check_alive` looks at it."""

    def __init__(self) -> None:
        self.error: BaseException | None = None

    def done(self) -> bool:
        return self.error is not None

    def cancelled(self) -> bool:
        return False

    def exception(self) -> BaseException | None:
        return self.error


class SimulatedConsumer:
    """AIOKafkaConsumer of one process."""

    def __init__(self, broker: Broker, process: ProcessLoop, instance_id: str | None, session_seconds: float) -> None:
        self._broker = broker
        self._connection = Connection(broker, process)
        self._fetches = Fetches(self._connection)
        self._membership = Membership(self._connection, self._fetches, instance_id, session_seconds)
        # What our code reads of aiokafka's private attributes
        self._fetcher = self
        self._coordinator = self
        self._client = self
        self.cluster = self
        self._assignors = (self,)
        self.error_future = self._coordination_task = _Finished()

    @property
    def member_id(self) -> str:
        return self._membership.member_id

    @property
    def generation(self) -> int:
        return self._membership.generation

    @property
    def leads(self) -> bool:
        """Whether it leads the group."""
        return self._membership.leads

    def request_rejoin(self) -> None:
        self._membership.request_rejoin()

    def renew_user_data(self) -> None:
        self._membership.user_data += 1

    # The connection

    async def start(self) -> None:
        broken = self._connection.is_broken()
        await asyncio.sleep(self._broker.latency())
        if broken:
            raise KafkaConnectionError("no broker responds")
        self._broker.watch(self._fetches.log_changed)

    async def stop(self) -> None:
        if self._fetches.closed:
            return
        self._fetches.closed = True
        self.disconnect()
        await self._membership.leave()
        self._fetches.wake()

    async def close(self) -> None:
        """The last step of `stop`, by itself."""
        self._fetches.closed = True
        self._membership.close()
        self.disconnect()

    def disconnect(self) -> None:
        """The broker has nobody to tell of changes any more."""
        self._broker.unwatch(self._fetches.log_changed)

    def cut_off(self) -> None:
        """The network between this client and the broker loses everything."""
        self._connection.cut_off = True

    def reconnect(self) -> None:
        self._connection.cut_off = False
        self._fetches.log_changed()

    # Records

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int = 0, max_records: int | None = None
    ) -> dict[TopicPartition, list[Record]]:
        timeout = IDLE_SECONDS if timeout_ms == IDLE_FETCH_MS else timeout_ms / 1000
        return await self._fetches.take(partitions, timeout, max_records or POLL_RECORDS)

    def wake(self) -> None:
        """Let a fetch that waits return."""
        self._fetches.wake()

    # Topics

    async def topics(self) -> set[str]:
        topics: frozenset[str] = await self.request(self._broker.topics)
        return set(topics)

    def subscribe(self, topics: Iterable[str] = (), pattern: Any = None, listener: Any = None) -> None:
        self._membership.subscribe(frozenset(topics), listener)

    def subscription(self) -> frozenset[str]:
        return self._membership.topics

    def assignment(self) -> set[TopicPartition]:
        assigned = self._fetches.assigned
        return set(assigned.states) if assigned else set()

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return {each.partition for each in self._broker.partitions_of([topic])} or None

    # Positions

    def pause(self, *partitions: TopicPartition) -> None:
        for partition in partitions:
            self._state(partition).paused = True

    def resume(self, *partitions: TopicPartition) -> None:
        for partition in partitions:
            self._state(partition).paused = False
        self._fetches.position_changed()

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self._fetches.seek(partition, self._state(partition), offset)

    async def position(self, partition: TopicPartition) -> int:
        state = self._state(partition)
        while state.position is None:
            await asyncio.sleep(RETRY_SECONDS)
            state = self._state(partition)
        return state.position

    def cluster_state(self) -> int:
        """Changes with every election and restart: a client learns of it before the leader answers."""
        return sum(map(ABSENCES, self._broker.logs.values()))

    def add_listener(self, listener: Callable[[Any], None]) -> None:
        """For metadata; `connections` tells every absence of a leader anyway."""

    def connections(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        logs = {each: self._broker.logs.get(each) for each in partitions}
        return {each: (log.elections, log.absences) for each, log in logs.items() if log is not None and log.leader}

    def fetch_positions(self) -> dict[TopicPartition, int]:
        return self._fetches.positions()

    def highwater(self, partition: TopicPartition) -> int | None:
        return self._state(partition).highwater

    def last_stable_offset(self, partition: TopicPartition) -> int | None:
        return self._state(partition).last_stable_offset

    async def commit(self, offsets: Iterable[TopicPartition]) -> None:
        if not self.assignment().issuperset(offsets):
            raise IllegalStateError("a partition is not assigned")
        await self._membership.commit()

    async def committed(self, partition: TopicPartition) -> None:
        await self.request(lambda: None)

    def _state(self, partition: TopicPartition) -> PartitionState:
        assigned = self._fetches.assigned
        state = assigned.states.get(partition) if assigned else None
        if state is None:
            raise IllegalStateError(f"No current assignment for partition {partition}")
        return state

    async def request(self, answer: Callable[[], T]) -> T:
        """`Connection.request`."""
        return await self._connection.request(answer)

    # The cluster and its leaders, for kafka/log_offsets.py

    def leader_for_partition(self, partition: TopicPartition) -> int | None:
        """The number of the leader, -1 without one, None for an unknown partition. Each election makes another broker lead."""
        log = self._broker.logs.get(partition)
        return None if log is None else BROKER + log.elections if log.leader else -1

    async def send(self, _: int, request: OffsetRequest) -> Any:
        """ListOffsets."""
        return await self.request(lambda: SimpleNamespace(topics=self._list_offsets(request)))

    def _list_offsets(self, request: OffsetRequest) -> list[tuple[str, list[tuple[int, int, int, int]]]]:
        return [
            (topic, [self._listed(TopicPartition(topic, each), position, request) for each, position in asked])
            for topic, asked in request._topics
        ]

    def _listed(self, partition: TopicPartition, position: int, request: OffsetRequest) -> tuple[int, int, int, int]:
        log = self._broker.logs.get(partition)
        if log is None or not log.leader:
            return partition.partition, NotLeaderForPartitionError.errno, -1, -1
        end = log.last_stable_offset if request._isolation_level == READ_COMMITTED else log.end
        return partition.partition, 0, -1, log.start if position == OffsetResetStrategy.EARLIEST else end

    def force_metadata_update(self) -> None:
        """Leaders are always up to date here."""
