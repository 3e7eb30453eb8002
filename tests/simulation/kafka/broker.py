"""The broker: the logs, who waits for them, and the group coordinator.

The group is of the eager protocol: JoinGroup of all members -> the leader assigns -> SyncGroup. A member that does not rejoin in
time, or whose heartbeats stop, is removed. A static member keeps its partitions over a restart. A member that joins again
unchanged gets its previous partitions without a rebalance, unless it is the leader.
"""

from collections.abc import Callable, Iterable
from random import Random
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.errors import IllegalGenerationError, KafkaError, RebalanceInProgressError, UnknownMemberIdError

from tests.simulation.event_loop import Handle, Scheduler
from tests.simulation.kafka.log import PartitionLog

LATENCIES: Final = (0.0005, 0.001, 0.001, 0.002, 0.005)
INITIAL_DELAY_SECONDS: Final = 0.1  # group.initial.rebalance.delay.ms
Assignment = dict[str, list[TopicPartition]]
Metadata = tuple[frozenset[str], int]  # the topics of a member, and its user data
Reply = Callable[[Any, KafkaError | None], None]


class Member:
    """A member of the group. `send` delivers an answer to its client, after the latency of the network."""

    def __init__(self, member_id: str, instance_id: str | None, metadata: Metadata) -> None:
        self.id = member_id
        self.instance_id = instance_id
        self.metadata = metadata
        self.last_seen = 0.0
        self.join: Reply | None = None
        self.sync: Reply | None = None
        self.expiry: Handle | None = None


class Group:
    """The group coordinator. Its phases: empty, joining, syncing, stable."""

    def __init__(self, scheduler: Scheduler, session_seconds: float) -> None:
        self.scheduler = scheduler
        self.session_seconds = session_seconds
        self.members: dict[str, Member] = {}
        self.phase = "empty"
        self.generation = 0
        self.last_join = 0.0  # when a member last asked to join
        self.leader = ""
        self.assignment: Assignment = {}
        self.evicted = 0
        self.refused_commits = 0
        self._joined: set[str] = set()
        self._round: Handle | None = None
        self._last_id = 0

    def join(self, member_id: str, instance_id: str | None, metadata: Metadata, reply: Reply) -> None:
        """JoinGroup; answered with (generation, member id, ids and topics of all members if it is the leader)."""
        self.last_join = self.scheduler.now
        if member_id and member_id not in self.members:
            reply(None, UnknownMemberIdError())
            return
        if member_id and self._may_keep_its_partitions(self.members[member_id], metadata):
            self._seen(self.members[member_id])
            reply((self.generation, member_id, self._topics_for(member_id)), None)
            return
        if not member_id:
            before = next(
                (each for each in self.members.values() if instance_id and each.instance_id == instance_id), None
            )
            member_id = self._new_id(instance_id)
            member = Member(member_id, instance_id, metadata)
            if before is not None and self._replace(before, member, reply):
                return
            self.members[member_id] = member
        member = self.members[member_id]
        member.metadata, member.join = metadata, reply
        self._seen(member)
        self._joined.add(member_id)
        if self.phase in {"empty", "stable", "syncing"}:
            self._prepare()
        self._complete_if_all_joined()

    def sync(self, member_id: str, generation: int, assignment: Assignment | None, reply: Reply) -> None:
        """SyncGroup; answered with the member's partitions once the leader has sent all of them."""
        if error := self._refusal(member_id, generation, "joining"):
            reply(None, error)
            return
        member = self.members[member_id]
        self._seen(member)
        member.sync = reply
        if assignment is not None and self.phase == "syncing":
            self.assignment = assignment
            self.phase = "stable"
        if self.phase == "stable":
            for each in self.members.values():
                if each.sync:
                    each.sync(self.assignment.get(each.id, []), None)
                    each.sync = None
                    self._seen(each)

    def heartbeat(self, member_id: str, generation: int, reply: Reply) -> None:
        if member_id in self.members:
            self._seen(self.members[member_id])
        reply(None, self._refusal(member_id, generation, "joining"))

    def commit(self, member_id: str, generation: int, reply: Reply) -> None:
        """OffsetCommit. The offsets are not kept: nothing reads them."""
        error = self._refusal(member_id, generation, "syncing")
        if error:
            self.refused_commits += 1
        else:
            self._seen(self.members[member_id])
        reply(None, error)

    def leave(self, member_id: str) -> None:
        if member_id in self.members:
            self._remove(self.members[member_id])

    def renew(self) -> None:
        """A broker that has been away starts all session time-outs anew."""
        for member in self.members.values():
            self._seen(member)

    def _refusal(self, member_id: str, generation: int, phase: str) -> KafkaError | None:
        """Why a member's request is refused; `phase` is the one in which Kafka refuses this kind of request."""
        if member_id not in self.members:
            return UnknownMemberIdError()
        if generation != self.generation:
            return IllegalGenerationError()
        return RebalanceInProgressError() if self.phase == phase else None

    def _may_keep_its_partitions(self, member: Member, metadata: Metadata) -> bool:
        unchanged = member.metadata == metadata
        return unchanged and (self.phase == "syncing" or (self.phase == "stable" and member.id != self.leader))

    def _topics_for(self, member_id: str) -> dict[str, frozenset[str]] | None:
        return {each.id: each.metadata[0] for each in self.members.values()} if member_id == self.leader else None

    def _new_id(self, instance_id: str | None) -> str:
        self._last_id += 1
        return f"{instance_id or 'energy-consumer'}-{self._last_id:036d}"

    def _replace(self, before: Member, member: Member, reply: Reply) -> bool:
        """A static member comes back under a new id. Whether that needed no rebalance."""
        del self.members[before.id]
        if before.expiry:
            before.expiry.cancel()
        self._joined.discard(before.id)
        self.members[member.id] = member
        self._seen(member)
        if self.leader == before.id:
            self.leader = member.id
        if self.phase == "stable" and before.metadata[0] == member.metadata[0]:
            self.assignment[member.id] = self.assignment.pop(before.id, [])
            reply((self.generation, member.id, None), None)
            return True
        return False

    def _seen(self, member: Member) -> None:
        member.last_seen = self.scheduler.now
        if member.expiry is None:
            member.expiry = self.scheduler.call_later(self.session_seconds, self._expire, member)

    def _expire(self, member: Member) -> None:
        if self.members.get(member.id) is not member:
            return
        due = member.last_seen + self.session_seconds
        if member.join is not None or member.sync is not None:  # it waits for others, without heartbeats meanwhile
            due = self.scheduler.now + self.session_seconds
        if due > self.scheduler.now:
            member.expiry = self.scheduler.call_later(due - self.scheduler.now, self._expire, member)
            return
        self.evicted += 1
        self._remove(member)

    def _remove(self, member: Member) -> None:
        self.members.pop(member.id, None)
        if member.expiry:
            member.expiry.cancel()
        self._joined.discard(member.id)
        if not self.members:
            self.phase = "empty"
        elif self.phase in {"stable", "syncing"}:
            self._prepare()
        self._complete_if_all_joined()

    def _prepare(self) -> None:
        first = self.phase == "empty"
        self.phase = "joining"
        for member in self.members.values():
            if member.sync:
                member.sync(None, RebalanceInProgressError())
                member.sync = None
        if self._round:
            self._round.cancel()
        self._round = self.scheduler.call_later(self.session_seconds, self._give_up)
        if first:
            self.phase = "waiting"
            self.scheduler.call_later(INITIAL_DELAY_SECONDS, self._begin)

    def _begin(self) -> None:
        if self.phase == "waiting":
            self.phase = "joining"
            self._complete_if_all_joined()

    def _give_up(self) -> None:
        """The rebalance time-out, which aiokafka sets to the session time-out: those that have not rejoined are removed."""
        if self.phase not in {"joining", "waiting"}:
            return
        for member in [each for each in self.members.values() if each.id not in self._joined]:
            self.evicted += 1
            self.members.pop(member.id)
            if member.expiry:
                member.expiry.cancel()
        self._complete_if_all_joined()

    def _complete_if_all_joined(self) -> None:
        if self.phase != "joining" or not self.members or self._joined != set(self.members):
            return
        if self._round:
            self._round.cancel()
        self.generation += 1
        self.phase = "syncing"
        self._joined.clear()
        if self.leader not in self.members:
            self.leader = next(iter(self.members))
        for member in self.members.values():
            reply, member.join = member.join, None
            self._seen(member)
            if reply:
                reply((self.generation, member.id, self._topics_for(member.id)), None)


class Broker:
    """All logs, and the group. While it is away no request is answered."""

    def __init__(self, scheduler: Scheduler, rng: Random, session_seconds: float) -> None:
        self.scheduler = scheduler
        self.rng = rng
        self.away = False
        self.logs: dict[TopicPartition, PartitionLog] = {}
        self.group = Group(scheduler, session_seconds)
        self.fetch_error: KafkaError | None = None
        self._watchers: list[Callable[[], None]] = []

    def latency(self) -> float:
        return LATENCIES[int(self.rng.random() * 5)]

    def topics(self) -> frozenset[str]:
        return frozenset(each.topic for each in self.logs)

    def partitions_of(self, topics: Iterable[str]) -> list[TopicPartition]:
        wanted = set(topics)
        return sorted(each for each in self.logs if each.topic in wanted)

    def watch(self, watcher: Callable[[], None]) -> None:
        """Call the watcher after every change of a log."""
        self._watchers.append(watcher)

    def unwatch(self, watcher: Callable[[], None]) -> None:
        if watcher in self._watchers:
            self._watchers.remove(watcher)

    def changed(self) -> None:
        for watcher in list(self._watchers):
            watcher()

    def come_back(self) -> None:
        self.away = False
        self.group.renew()
        self.changed()
