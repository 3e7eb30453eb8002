"""Fetching as aiokafka does it: records are prefetched, belong to an assignment and a position, and are taken by `getmany`.

A seek, a pause or a new assignment discards what was prefetched. One fetch is in flight at a time; a change of positions takes
effect when it has returned, which is after `fetch_max_wait_ms` at the latest.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError

from consumer.records.record import Record
from tests.simulation.event_loop import Handle
from tests.simulation.kafka.connection import Connection, finish

LONG_POLL_SECONDS: Final = 0.5  # fetch_max_wait_ms: then a seek or a resumed partition takes effect
LONGEST_POLL_SECONDS: Final = 4.0  # without either; it would bring nothing
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


Request = tuple[Assigned, list[tuple[TopicPartition, int]]]


class Fetches:
    """What one client has prefetched. `assigned` is None before the first assignment, and after another subscription."""

    def __init__(self, connection: Connection) -> None:
        self.assigned: Assigned | None = None
        self.closed = False
        self._connection = connection
        self._broker = connection.broker
        self._process = connection.process
        self._reassigning = True
        self._buffers: dict[TopicPartition, Fetched] = {}
        self._waiters: list[asyncio.Future[None]] = []
        self._assignment_waiters: list[asyncio.Future[None]] = []
        self._requested: Request | None = None  # the fetch in flight
        self._outdated = False  # a position has changed since
        self._parked: Handle | None = None

    # Assignments

    def begin_reassignment(self) -> None:
        """From now on `take` waits for the next assignment."""
        self._reassigning = True

    def reassign(self, partitions: Iterable[TopicPartition]) -> None:
        self.discard()
        self.assigned = Assigned(partitions)
        self._reassigning = False
        waiters, self._assignment_waiters = self._assignment_waiters, []
        for waiter in waiters:
            finish(waiter)

    def discard(self) -> None:
        """Forget the assignment, what was prefetched, and the fetch in flight."""
        if self.assigned:
            self.assigned.active = False
        self.assigned = None
        self._buffers.clear()
        self._requested = None
        if self._parked:
            self._parked.cancel()
            self._parked = None

    # Positions

    def seek(self, partition: TopicPartition, state: PartitionState, offset: int) -> None:
        state.position = offset
        self._buffers.pop(partition, None)
        self.position_changed()

    def positions(self) -> dict[TopicPartition, int]:
        """The position of each partition that has one, unless its next result is an error."""
        states = self.assigned.states if self.assigned else {}
        failed = {partition for partition, fetched in self._buffers.items() if fetched.error}
        return {
            each: state.position for each, state in states.items() if state.position is not None and each not in failed
        }

    # Records

    async def take(
        self, partitions: tuple[TopicPartition, ...], timeout: float, remaining: int
    ) -> dict[TopicPartition, list[Record]]:
        """At most `remaining` records; none after `timeout` seconds. Waits without bound for an assignment."""
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
            timer = self._process.scheduler.call_later(timeout, finish, waiter)
            try:
                await waiter
            finally:
                timer.cancel()
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
            timeout = max(0.0, timeout - (self._process.time() - started))
            if not timeout or self.closed:
                return {}

    def _drain(self, partitions: tuple[TopicPartition, ...], remaining: int) -> dict[TopicPartition, list[Record]]:
        drained: dict[TopicPartition, list[Record]] = {}
        for partition in list(self._buffers):
            if partitions and partition not in partitions:
                if self.assigned is None or partition not in self.assigned.states:
                    del self._buffers[partition]
                continue
            fetched = self._buffers[partition]
            if fetched.error:
                if drained:
                    return drained
                del self._buffers[partition]
                self.send()
                raise fetched.error
            records = self._take_from(partition, fetched, remaining)
            if partition not in self._buffers:
                self.send()
            if records:
                drained[partition] = records
                remaining -= len(records)
                if not remaining:
                    break
        return drained

    def _take_from(self, partition: TopicPartition, fetched: Fetched, remaining: int) -> list[Record]:
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

    def position_changed(self) -> None:
        self._outdated = self._requested is not None  # it returns first
        if self._parked:
            self._wake_parked(self._broker.rng.random() * LONG_POLL_SECONDS)
        else:
            self.send()

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

    def send(self) -> None:
        if self._requested or self.closed or self.assigned is None:
            return
        assigned = self.assigned
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
        if self._connection.is_broken() or not self._any_news(request):
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
        if request is not self._requested or self.closed:
            return
        self._requested = None
        assigned, wanted = request
        if assigned.active and not self._connection.is_broken():
            self._broker.rng.shuffle(wanted)
            for partition, position in wanted:
                self._keep(assigned, partition, position)
        self.send()

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
            finish(waiter)
