"""Scripts that run on the model of Kafka and its client, and on a real broker and aiokafka; they must have the same outcome.

A script gets a topic of two partitions, and returns what was seen. Records are in partition 0.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, Final, Protocol

from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, OffsetOutOfRangeError

from consumer.kafka.client import request_rebalance
from consumer.kafka.log_offsets import log_ranges

DEADLINE_SECONDS: Final = 20
POLL_MS: Final = 100
POLLS: Final = 10
Seen = list[tuple[str, str, int]]  # member, callback, number of partitions


class KafkaTopic(Protocol):
    """A topic, on the model or on a real broker. A transaction has the name that its producer gave it."""

    name: str

    async def client(self) -> Any:
        """A started client of the group, without a subscription."""

    async def append(self, records: int, transaction: str = "") -> None:
        """Append records to partition 0, within a transaction if it is named."""

    async def end(self, transaction: str, *, abort: bool = False) -> None: ...

    async def delete_before(self, offset: int) -> None: ...

    def positions(self, client: Any) -> dict[TopicPartition, int]: ...


Script = Callable[[KafkaTopic], Awaitable[list[Any]]]


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Notes the callbacks, and starts every partition at the beginning of its log."""

    def __init__(self, client: Any, member: str, seen: Seen) -> None:
        self._client = client
        self._member = member
        self._seen = seen

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        self._seen.append((self._member, "revoked", len(list(revoked))))

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        partitions = list(assigned)
        self._seen.append((self._member, "assigned", len(partitions)))
        for partition in partitions:
            self._client.seek(partition, 0)


async def _member(topic: KafkaTopic, name: str = "first", seen: Seen | None = None) -> Any:
    client = await topic.client()
    client.subscribe([topic.name], listener=_Listener(client, name, [] if seen is None else seen))
    return client


async def _read_to(topic: KafkaTopic, client: Any, end: int) -> list[int]:
    """The offsets of the records up to a position of partition 0."""
    partition = TopicPartition(topic.name, 0)
    offsets: list[int] = []
    async with asyncio.timeout(DEADLINE_SECONDS):
        while topic.positions(client).get(partition, 0) < end:
            fetched = await client.getmany(timeout_ms=POLL_MS)
            offsets += [record.offset for record in fetched.get(partition, [])]
    return offsets


async def _poll(client: Any) -> list[int]:
    """The offsets of the records of the next fetch that has some; none when there are none for a while.

    Longer than a fetch in flight waits at the broker: a seek does not end it.
    """
    for _ in range(POLLS):
        if fetched := await client.getmany(timeout_ms=POLL_MS):
            return [record.offset for records in fetched.values() for record in records]
    return []


async def _log(topic: KafkaTopic, client: Any) -> tuple[int, int, int]:
    """Beginning, end, and last stable offset of partition 0."""
    partition = TopicPartition(topic.name, 0)
    found = (await log_ranges(client, [partition]))[0][partition]
    return found.beginning, found.end, found.stable_end


async def a_position_passes_markers_and_aborted_records(topic: KafkaTopic) -> list[Any]:
    client = await _member(topic)
    await topic.append(2, "committed")
    await topic.end("committed")
    await topic.append(2, "aborted")
    await topic.end("aborted", abort=True)
    return [await _read_to(topic, client, 6), await _poll(client), await _log(topic, client)]


async def records_behind_an_open_transaction_are_not_returned(topic: KafkaTopic) -> list[Any]:
    client = await _member(topic)
    await topic.append(1)
    await topic.append(1, "open")
    await topic.append(1)
    seen = [await _read_to(topic, client, 1), await _poll(client), await _log(topic, client)]
    await topic.end("open")
    return [*seen, await _read_to(topic, client, 4), await _log(topic, client)]


async def a_position_outside_of_the_log_is_out_of_range(topic: KafkaTopic) -> list[Any]:
    client, partition = await _member(topic), TopicPartition(topic.name, 0)
    await topic.append(5)
    seen: list[Any] = [await _read_to(topic, client, 5)]
    await topic.delete_before(3)
    for position in (2, 6, 5, 3):
        client.seek(partition, position)
        seen.append(await _out_of_range(client))
    return [*seen, await _log(topic, client), topic.positions(client)[partition]]


async def _out_of_range(client: Any) -> Any:
    """Which offset of partition 0 is out of range, or which records are returned from it on."""
    try:
        return await _poll(client)
    except OffsetOutOfRangeError as error:
        return list(error.args[0].values())


async def partitions_are_revoked_before_another_member_gets_them(topic: KafkaTopic) -> list[Any]:
    seen: Seen = []
    first, second = await _two_members(topic, seen)
    held = first.assignment() | second.assignment()
    rejoined = seen.index(("first", "revoked", 2))
    later = sorted(each for each in seen[rejoined + 1 :] if each[1] == "assigned")
    before = [each for each in seen[:rejoined] if each[0] == "first" or each[1] == "assigned"]
    await second.stop()
    await _until(lambda: seen[-1] == ("first", "assigned", 2), first)
    return [before, later, len(held), [each for each in seen if each[0] == "first"][-2:]]


async def a_commit_behind_the_request_to_join_makes_its_member_join_once_more(topic: KafkaTopic) -> list[Any]:
    """The other member takes part in that only if the leader, which is the first member, has to join."""
    seen: Seen = []
    members = await _two_members(topic, seen)
    of_leader = await _joins_with_a_commit("first", members, seen)
    of_other = await _joins_with_a_commit("second", members, seen)
    return [of_leader["first"], of_other["second"], of_other["first"]]


async def _two_members(topic: KafkaTopic, seen: Seen) -> tuple[Any, Any]:
    first = await _member(topic, "first", seen)
    await _until(lambda: ("first", "assigned", 2) in seen, first)
    second = await _member(topic, "second", seen)
    await _until(lambda: ("second", "assigned", 1) in seen and ("first", "assigned", 1) in seen, first, second)
    return first, second


async def _joins_with_a_commit(name: str, members: tuple[Any, Any], seen: Seen) -> dict[str, list[str]]:
    """The callbacks of both members after one has requested a rebalance and gone on to commit, until it has joined twice."""
    del seen[:]
    member = members[name == "second"]
    request_rebalance(member)
    async with asyncio.timeout(DEADLINE_SECONDS):
        with suppress(CommitFailedError):
            while True:  # a commit before the request to join succeeds; the next one waits for its answer
                await member.commit(dict.fromkeys(member.assignment(), 0))
    await _until(lambda: seen.count((name, "assigned", 1)) == 2 and _all_assigned(seen), *members)
    await asyncio.gather(*map(_poll, members))  # nothing more happens
    return {each: [callback for member, callback, _ in seen if member == each] for each in ("first", "second")}


def _all_assigned(seen: Seen) -> bool:
    last = {member: callback for member, callback, _ in seen}
    return set(last.values()) == {"assigned"}


async def _until(condition: Callable[[], bool], *clients: Any) -> None:
    """Poll until the condition holds: a client that does not poll does not take part in a rebalance."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not condition():
            await asyncio.gather(*(each.getmany(timeout_ms=POLL_MS) for each in clients))


SCRIPTS: Final[tuple[Script, ...]] = (
    a_position_passes_markers_and_aborted_records,
    records_behind_an_open_transaction_are_not_returned,
    a_position_outside_of_the_log_is_out_of_range,
    partitions_are_revoked_before_another_member_gets_them,
    a_commit_behind_the_request_to_join_makes_its_member_join_once_more,
)
