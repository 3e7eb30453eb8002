"""The consumer group as its coordinator describes it: its members, and the partitions that each of them holds."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import for_code

from consumer.kafka.client import RESPONSE_TIMEOUT_MS
from consumer.settings import ConsumerSettings

STABLE: Final = "Stable"  # no rebalance is in progress


@dataclass(frozen=True, slots=True)
class Member:
    """A member of the group and its assignment; `host` is its address as the broker sees it."""

    member_id: str
    host: str
    partitions: frozenset[TopicPartition]


@dataclass(frozen=True, slots=True)
class GroupDescription:
    """Outside of the state STABLE, the assignments of the members are empty or outdated."""

    state: str
    members: tuple[Member, ...]

    def holders(self) -> dict[TopicPartition, Member]:
        """The member that holds each assigned partition."""
        return {partition: member for member in self.members for partition in member.partitions}


async def describe_group(settings: ConsumerSettings) -> GroupDescription:
    """Ask the group's coordinator, over a connection of its own.

    Raises:
        KafkaError, OSError: Kafka does not answer, or denies the answer.
    """
    admin: Any = AIOKafkaAdminClient(**settings.client_options(), request_timeout_ms=RESPONSE_TIMEOUT_MS)
    try:
        await admin.start()
        responses = await admin.describe_consumer_groups([settings.kafka_group_id])
    finally:
        await admin.close()
    (code, _, state, _, _, members, *_) = responses[0].groups[0]
    if code:
        raise for_code(code)(settings.kafka_group_id)
    return GroupDescription(state, tuple(_members(members)))


def _members(described: Any) -> Iterator[Member]:
    for member_id, _, host, _, assigned, *_ in described:
        partitions = ConsumerProtocolMemberAssignment.decode(assigned).partitions() if assigned else ()
        yield Member(member_id, host.removeprefix("/"), frozenset(partitions))
