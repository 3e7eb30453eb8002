"""aiokafka's consumer in front of the model of the broker, with the behaviour that our code relies on.

What is copied from aiokafka 0.14 (consumer/fetcher.py, group_coordinator.py, subscription_state.py): records are prefetched and
belong to an assignment and a position; a seek, a pause or a new assignment discards them; `getmany` waits without bound while a
rebalance is in progress; the old assignment stays in sight until the new one is there; positions follow transaction markers;
`on_partitions_revoked` is awaited before the member joins again, with heartbeats going on, and `on_partitions_assigned` before
the first heartbeat. What a callback raises is swallowed.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from operator import attrgetter
from types import SimpleNamespace
from typing import Any, Final, TypeVar

from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, OffsetResetStrategy
from aiokafka.errors import (
    IllegalStateError,
    KafkaConnectionError,
    KafkaError,
    NoOffsetForPartitionError,
    NotLeaderForPartitionError,
    OffsetOutOfRangeError,
    UnknownMemberIdError,
)
from aiokafka.protocol.offset import OffsetRequest

from consumer.pipeline.poll_loop import IDLE_FETCH_MS
from consumer.records.record import Record
from tests.simulation.event_loop import Handle, ProcessLoop
from tests.simulation.kafka.broker import Assignment, Broker

RETRY_SECONDS: Final = 0.1
LONG_POLL_SECONDS: Final = 0.5  # fetch_max_wait_ms: then a seek or a resumed partition takes effect
LONGEST_POLL_SECONDS: Final = 4.0  # without either; it would bring nothing
IDLE_SECONDS: Final = 2.0  # of a fetch that finds nothing, at least; the poll loop would come back ten times as often
BROKER: Final = 1
ABSENCES: Final = attrgetter("absences")
POLL_RECORDS: Final = 500
RESPONSE_RECORDS: Final = (1, 3, 10, 500)  # as many records fit into one response


class PartitionState:
    """One assigned partition, as aiokafka's TopicPartitionState."""

    __slots__ = ("highwater", "last_stable_offset", "paused", "position")

    def __init__(self) -> None:
        self.position: int | None = None
        self.paused = False
        self.highwater: int | None = None
        self.last_stable_offset: int | None = None


class Assigned:
    """The partitions of one generation; a new one replaces it."""

    def __init__(self, partitions: Iterable[TopicPartition]) -> None:
        self.states = {partition: PartitionState() for partition in partitions}
        self.active = True


class Fetched:
    """Prefetched records of one partition: `following` is the position behind each, `end` that behind all and the markers."""

    __slots__ = ("assigned", "end", "error", "position", "records")

    def __init__(
        self, assigned: Assigned, position: int, records: list[Record], end: int, error: KafkaError | None = None
    ):
        self.assigned = assigned
        self.position = position
        self.records = deque(records)
        self.end = end
        self.error = error


T = TypeVar("T")
Request = tuple[Assigned, list[tuple[TopicPartition, int]]]


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
        self._process = process
        self._instance_id = instance_id
        self._heartbeat_seconds = max(0.3, session_seconds / 4)
        self._listener: Any = None
        self._topics: frozenset[str] = frozenset()
        self._assigned: Assigned | None = None
        self._reassigning = True
        self._closed = False
        self._buffers: dict[TopicPartition, Fetched] = {}
        self._waiters: list[asyncio.Future[None]] = []
        self._assignment_waiters: list[asyncio.Future[None]] = []
        self._requested: Request | None = None  # the fetch in flight
        self._outdated = False  # a position has changed since
        self._parked: Handle | None = None
        self._rejoin = asyncio.Event()
        self._coordination: asyncio.Task[None] | None = None
        self._heart: Handle | None = None
        self._member_id = ""
        self._generation = 0
        self.cut_off = False  # from the broker
        self.leads = False  # the group, and so watches for new partitions
        # What our code reads of aiokafka's private attributes
        self._fetcher = self
        self._coordinator = self
        self._client = self
        self.cluster = self
        self._assignors = (self,)
        self.error_future = self._coordination_task = _Finished()

    @property
    def member_id(self) -> str:
        return self._member_id

    @property
    def generation(self) -> int:
        return self._generation

    def renew_user_data(self) -> None:
        """Each join of a member starts a rebalance here, whatever its user data."""

    # The client

    async def start(self) -> None:
        if self._unreachable():
            await asyncio.sleep(self._broker.latency())
            raise KafkaConnectionError("no broker responds")
        await asyncio.sleep(self._broker.latency())
        self._broker.watch(self.log_changed)

    async def stop(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._broker.unwatch(self.log_changed)
        if self._coordination and not self._coordination.done():
            self._rejoin.set()
            await self._coordination
        self._stop_heart()
        if self._member_id and self._instance_id is None:
            await asyncio.sleep(self._broker.latency())
            if not self._unreachable():
                self._broker.group.leave(self._member_id)
        for waiter in self._waiters:
            _finish(waiter)

    async def close(self) -> None:
        self._closed = True
        self._broker.unwatch(self.log_changed)

    async def topics(self) -> set[str]:
        topics: frozenset[str] = await self.request(self._broker.topics)
        return set(topics)

    def subscribe(self, topics: Iterable[str] = (), pattern: Any = None, listener: Any = None) -> None:
        self._topics = frozenset(topics)
        self._listener = listener
        if self._assigned:
            self._assigned.active = False
            self._buffers.clear()
            self._forget_fetch()
        self._assigned = None
        self._reassigning = True
        if self._coordination is None:
            self._coordination = asyncio.create_task(self._coordinate(), name="coordination")
            self._coordination.add_done_callback(_raise)
        self._rejoin.set()

    def subscription(self) -> frozenset[str]:
        return self._topics

    def assignment(self) -> set[TopicPartition]:
        return set(self._assigned.states) if self._assigned else set()

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return {each.partition for each in self._broker.partitions_of([topic])} or None

    # Positions

    def pause(self, *partitions: TopicPartition) -> None:
        for partition in partitions:
            self._state(partition).paused = True

    def resume(self, *partitions: TopicPartition) -> None:
        for partition in partitions:
            self._state(partition).paused = False
        self._position_changed()

    def paused(self) -> set[TopicPartition]:
        return {each for each, state in self._assigned.states.items() if state.paused} if self._assigned else set()

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self._state(partition).position = offset
        self._buffers.pop(partition, None)
        self._position_changed()

    async def position(self, partition: TopicPartition) -> int:
        state = self._state(partition)
        while state.position is None:
            await asyncio.sleep(RETRY_SECONDS)
            state = self._state(partition)
        return state.position

    def cluster_state(self) -> int:
        """Changes with every election and restart: a client learns of it before the leader answers."""
        return sum(map(ABSENCES, self._broker.logs.values()))

    def connections(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        logs = {each: self._broker.logs.get(each) for each in partitions}
        return {each: (log.elections, log.absences) for each, log in logs.items() if log is not None and log.leader}

    def fetch_positions(self) -> dict[TopicPartition, int]:
        states = self._assigned.states if self._assigned else {}
        failed = {partition for partition, fetched in self._buffers.items() if fetched.error}
        return {
            each: state.position for each, state in states.items() if state.position is not None and each not in failed
        }

    def highwater(self, partition: TopicPartition) -> int | None:
        return self._state(partition).highwater

    def last_stable_offset(self, partition: TopicPartition) -> int | None:
        return self._state(partition).last_stable_offset

    async def commit(self, offsets: Any = None) -> None:
        if await self.request(lambda: self._broker.group.phase) == "joining":
            raise IllegalStateError("Partition is not assigned")

    async def committed(self, partition: TopicPartition) -> None:
        await self.request(lambda: None)

    def _state(self, partition: TopicPartition) -> PartitionState:
        state = self._assigned.states.get(partition) if self._assigned else None
        if state is None:
            raise IllegalStateError(f"No current assignment for partition {partition}")
        return state

    async def request(self, answer: Callable[[], T]) -> T:
        """Send a request to the broker, which computes the answer when it arrives there.

        Raises:
            KafkaConnectionError: the broker does not respond.
        """
        reply = self._process.create_future()
        self._process.scheduler.call_later(self._broker.latency(), self._serve, answer, reply)
        result: T = await reply
        return result

    def _serve(self, answer: Callable[[], Any], reply: asyncio.Future[Any]) -> None:
        if self._unreachable():
            self._resolve(reply, None, KafkaConnectionError("the broker does not respond"))
        else:
            self._process.scheduler.call_later(self._broker.latency(), self._resolve, reply, answer(), None)

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

    def _unreachable(self) -> bool:
        return self._broker.away or self.cut_off

    # Records

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int = 0, max_records: int | None = None
    ) -> dict[TopicPartition, list[Record]]:
        timeout = IDLE_SECONDS if timeout_ms == IDLE_FETCH_MS else timeout_ms / 1000
        remaining = max_records or POLL_RECORDS
        while True:
            if self._reassigning:
                waiter = self._process.create_future()
                self._assignment_waiters.append(waiter)
                await waiter
            started = self._process.time()
            drained = self._drain(partitions, remaining)
            if drained or not timeout:
                return drained
            waiter = self._process.create_future()
            self._waiters.append(waiter)
            timer = self._process.scheduler.call_later(timeout, _finish, waiter)
            try:
                await waiter
            finally:
                timer.cancel()
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
            timeout = max(0.0, timeout - (self._process.time() - started))
            if not timeout or self._closed:
                return {}

    def _drain(self, partitions: tuple[TopicPartition, ...], remaining: int) -> dict[TopicPartition, list[Record]]:
        drained: dict[TopicPartition, list[Record]] = {}
        for partition in list(self._buffers):
            if partitions and partition not in partitions:
                if self._assigned is None or partition not in self._assigned.states:
                    del self._buffers[partition]
                continue
            fetched = self._buffers[partition]
            if fetched.error:
                if drained:
                    return drained
                del self._buffers[partition]
                self._send_fetch()
                raise fetched.error
            records = self._take(partition, fetched, remaining)
            if partition not in self._buffers:
                self._send_fetch()
            if records:
                drained[partition] = records
                remaining -= len(records)
                if not remaining:
                    break
        return drained

    def _take(self, partition: TopicPartition, fetched: Fetched, remaining: int) -> list[Record]:
        state = fetched.assigned.states[partition]
        if not fetched.assigned.active or state.paused or state.position != fetched.position:
            del self._buffers[partition]
            return []
        taken: list[Record] = []
        while fetched.records and len(taken) < remaining:
            taken.append(fetched.records.popleft())
        if len(taken) == remaining:
            state.position = fetched.position = taken[-1].offset + 1
        else:
            state.position = fetched.end
            del self._buffers[partition]
        return taken

    # Fetching

    def _position_changed(self) -> None:
        self._outdated = self._requested is not None  # it returns first
        if self._parked:
            self._wake_parked(self._broker.rng.random() * LONG_POLL_SECONDS)
        else:
            self._send_fetch()

    def log_changed(self) -> None:
        """A log, or the way to the broker, is another: a fetch that waits there may get records."""
        if self._parked and self._requested and self._any_news(self._requested):
            self._wake_parked(self._broker.latency())

    def _wake_parked(self, delay: float) -> None:
        assert self._parked is not None
        if self._parked.when() > self._process.scheduler.now + delay:
            self._parked.cancel()
            self._parked = self._process.scheduler.call_later(delay, self._unpark)

    def _unpark(self) -> None:
        self._parked = None
        if self._requested:
            self._process.call_soon(self._respond, self._requested)

    def _send_fetch(self) -> None:
        if self._requested or self._closed or self._assigned is None:
            return
        assigned = self._assigned
        wanted = []
        for partition, state in assigned.states.items():
            if partition in self._buffers:
                continue
            if state.position is None:
                self._buffers[partition] = Fetched(assigned, 0, [], 0, NoOffsetForPartitionError(partition))
                self.wake()
            elif not state.paused:
                wanted.append((partition, state.position))
        if wanted:
            self._requested, self._outdated = (assigned, wanted), False
            self._process.scheduler.call_later(self._broker.latency(), self._receive, self._requested)

    def _receive(self, request: Request) -> None:
        """On the broker: respond at once if there is anything to say, else when a log changes."""
        if request is not self._requested:
            return
        if self._unreachable() or not self._any_news(request):
            seconds = LONG_POLL_SECONDS if self._outdated else LONGEST_POLL_SECONDS
            self._parked = self._process.scheduler.call_later(seconds, self._unpark)
        else:
            self._process.scheduler.call_later(self._broker.latency(), self._process.call_soon, self._respond, request)

    def _any_news(self, request: Request) -> bool:
        return any(self._has_news(partition, position) for partition, position in request[1])

    def _has_news(self, partition: TopicPartition, position: int) -> bool:
        log = self._broker.logs.get(partition)
        if log is None or not log.leader:
            return False
        if log.start <= position <= log.end and not self._broker.fetch_error:
            return position < log.last_stable_offset
        return True

    def _respond(self, request: Request) -> None:
        """At the client."""
        if request is not self._requested or self._closed:
            return
        self._requested = None
        assigned, wanted = request
        if assigned.active and not self._unreachable():
            self._broker.rng.shuffle(wanted)
            for partition, position in wanted:
                self._keep(assigned, partition, position)
        self._send_fetch()

    def _forget_fetch(self) -> None:
        """The partitions of the fetch in flight are not ours any more."""
        self._requested = None
        if self._parked:
            self._parked.cancel()
            self._parked = None

    def _keep(self, assigned: Assigned, partition: TopicPartition, position: int) -> None:
        state, log = assigned.states[partition], self._broker.logs.get(partition)
        if state.position != position or log is None or not log.leader or partition in self._buffers:
            return
        if self._broker.fetch_error is not None:
            error, self._broker.fetch_error = self._broker.fetch_error, None
            self._buffers[partition] = Fetched(assigned, position, [], position, error)
            self.wake()
            return
        if not log.start <= position <= log.end:
            error = OffsetOutOfRangeError({partition: position})
            self._buffers[partition] = Fetched(assigned, position, [], position, error)
            self.wake()
            return
        state.highwater, state.last_stable_offset = log.end, log.last_stable_offset
        if position >= log.last_stable_offset:
            return
        entries, end = log.unread(position), log.last_stable_offset
        most = self._broker.rng.choice(RESPONSE_RECORDS)
        if len(entries) > most:
            entries, end = entries[:most], entries[most - 1].offset + 1
        records = [Record(partition, each.offset, each.timestamp, each.key, each.value) for each in entries]
        self._buffers[partition] = Fetched(assigned, position, records, end)
        self.wake()

    def wake(self) -> None:
        """Let a fetch that waits return."""
        for waiter in self._waiters:
            _finish(waiter)

    # The group

    async def _coordinate(self) -> None:
        prepared = False
        while not self._closed:
            await self._rejoin.wait()
            self._rejoin.clear()
            if self._closed:
                return  # type: ignore[unreachable]  # closed meanwhile
            if not prepared:
                await self._prepare_to_join()
                prepared = True
            self._stop_heart()
            try:
                topics = self._topics
                partitions = await self._join()
                if topics != self._topics:
                    raise IllegalStateError("the subscription has changed")
            except KafkaError as error:
                if isinstance(error, UnknownMemberIdError):
                    self._member_id = ""
                self._rejoin.set()
                await asyncio.sleep(RETRY_SECONDS)
                continue
            await self._complete_join(partitions)
            prepared = False
            self._start_heart()

    async def _prepare_to_join(self) -> None:
        self._reassigning = True
        revoked = set(self._assigned.states) if self._assigned else set()
        try:
            await self._listener.on_partitions_revoked(revoked)
        except Exception:  # noqa: BLE001 - as aiokafka does it
            return

    async def _complete_join(self, partitions: list[TopicPartition]) -> None:
        if self._assigned:
            self._assigned.active = False
        self._buffers.clear()
        self._forget_fetch()
        self._assigned = Assigned(partitions)
        self._reassigning = False
        waiters, self._assignment_waiters = self._assignment_waiters, []
        for waiter in waiters:
            _finish(waiter)
        try:
            await self._listener.on_partitions_assigned(set(partitions))
        except Exception:  # noqa: BLE001 - as aiokafka does it
            return
        finally:
            self._send_fetch()

    async def _join(self) -> list[TopicPartition]:
        group = self._broker.group
        generation, member_id, topics = await self._ask(group.join, self._member_id, self._instance_id, self._topics)
        self._member_id, self._generation = member_id, generation
        self.leads = topics is not None
        assignment = None if topics is None else self._assign(topics)
        partitions: list[TopicPartition] = await self._ask(group.sync, member_id, generation, assignment)
        return partitions

    def _assign(self, topics: dict[str, frozenset[str]]) -> Assignment:
        """Round robin, as the leader computes it."""
        members = sorted(topics)
        assignment: Assignment = {member: [] for member in members}
        for index, partition in enumerate(self._broker.partitions_of(set().union(*topics.values()))):
            candidates = [member for member in members if partition.topic in topics[member]]
            assignment[candidates[index % len(candidates)]].append(partition)
        return assignment

    async def _ask(self, request: Callable[..., None], *args: Any) -> Any:
        """Send a request to the coordinator and wait for the answer, for as long as it takes."""
        answer = self._process.create_future()
        scheduler = self._process.scheduler
        if self._unreachable():
            await asyncio.sleep(RETRY_SECONDS)
            raise KafkaConnectionError("the coordinator does not respond")
        scheduler.call_later(self._broker.latency(), request, *args, self._replier(answer))
        return await answer

    def _replier(self, answer: asyncio.Future[Any]) -> Callable[[Any, KafkaError | None], None]:
        def reply(result: Any, error: KafkaError | None) -> None:
            self._process.scheduler.call_later(self._broker.latency(), self._resolve, answer, result, error)

        return reply

    def _resolve(self, answer: asyncio.Future[Any], result: Any, error: KafkaError | None) -> None:
        if not answer.done() and not self._process.dead:
            if error is None:
                answer.set_result(result)
            else:
                answer.set_exception(error)

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
        if not self._process.frozen and not self._unreachable():
            self._process.scheduler.call_later(
                self._broker.latency(), self._broker.group.heartbeat, self._member_id, self._generation, self._beaten
            )

    def _beaten(self, result: Any, error: KafkaError | None) -> None:
        if error is not None and self._heart is not None and not self._process.dead:
            self._process.call_soon(self._learn, error)

    def _learn(self, error: KafkaError) -> None:
        if isinstance(error, UnknownMemberIdError):
            self._member_id = ""
            self._stop_heart()
        self._rejoin.set()

    def request_rejoin(self) -> None:
        """The metadata has changed: a topic has more partitions."""
        self._rejoin.set()


def _raise(task: asyncio.Task[None]) -> None:
    """An error of the model itself must not be lost."""
    if not task.cancelled():
        task.result()


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
