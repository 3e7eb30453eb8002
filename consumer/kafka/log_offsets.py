"""The offsets of Kafka's logs, requested from each leader separately.

aiokafka treats several partitions as one request: a single partition without a leader makes it retry for all of them until it
times out. Here that partition gets an error, and the others get their offsets.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, READ_UNCOMMITTED, OffsetResetStrategy
from aiokafka.errors import (
    KafkaError,
    LeaderNotAvailableError,
    RequestTimedOutError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.offset import OffsetRequest

TIMEOUT_SECONDS: Final = 5.0
WITHOUT_LEADER: Final = (None, -1)
BEGINNING: Final = (OffsetResetStrategy.EARLIEST, READ_UNCOMMITTED)
STABLE_END: Final = (OffsetResetStrategy.LATEST, READ_COMMITTED)
END: Final = (OffsetResetStrategy.LATEST, READ_UNCOMMITTED)


@dataclass(frozen=True, slots=True)
class LogRange:
    """The log of a partition: offsets [beginning, end), of which those from `stable_end` on cannot be read yet.

    `end` is the high watermark. `stable_end` is the last stable offset, which is below `end` while a transaction is open: it is
    then the offset of the first record of the oldest open transaction.
    """

    beginning: int
    end: int
    stable_end: int

    @property
    def has_open_transaction(self) -> bool:
        return self.stable_end < self.end


async def log_ranges(
    client: AIOKafkaConsumer, partitions: Iterable[TopicPartition]
) -> tuple[dict[TopicPartition, LogRange], dict[TopicPartition, KafkaError]]:
    """The log of each partition, and the error of each partition whose leader gave no answer within TIMEOUT_SECONDS.

    LeaderNotAvailableError: the partition has no leader. UnknownTopicOrPartitionError: the client knows no such partition.
    """
    by_leader: dict[int | None, list[TopicPartition]] = defaultdict(list)
    for partition in partitions:
        by_leader[client._client.cluster.leader_for_partition(partition)].append(partition)  # noqa: SLF001
    answers = await asyncio.gather(*(_ask_leader(client, *each) for each in by_leader.items()))
    found = {partition: answer for each in answers for partition, answer in each.items()}
    failed = {partition: answer for partition, answer in found.items() if isinstance(answer, KafkaError)}
    if any(error.invalid_metadata for error in failed.values()):
        client._client.force_metadata_update()  # noqa: SLF001 - in the background: the next call finds the new leaders
    return {each: answer for each, answer in found.items() if isinstance(answer, LogRange)}, failed


def explain(error: KafkaError) -> str:
    """Why a partition is not served, for an operator."""
    if isinstance(error, LeaderNotAvailableError):
        return "no leader; start the brokers that have its replicas"
    return f"its leader does not answer: {error!r}"


async def _ask_leader(
    client: AIOKafkaConsumer, leader: int | None, partitions: list[TopicPartition]
) -> Mapping[TopicPartition, LogRange | KafkaError]:
    if leader in WITHOUT_LEADER:
        error = UnknownTopicOrPartitionError() if leader is None else LeaderNotAvailableError()
        return dict.fromkeys(partitions, error)
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            # together: each may have to wait for the response to a fetch request on the same connection
            found = await asyncio.gather(
                *(_list_offsets(client, leader, partitions, *each) for each in (BEGINNING, STABLE_END, END))
            )
    except (OSError, TimeoutError) as error:
        return dict.fromkeys(partitions, RequestTimedOutError(repr(error)))
    except KafkaError as error:
        return dict.fromkeys(partitions, error)
    return {each: _range_or_error([answer[each] for answer in found]) for each in partitions}


async def _list_offsets(
    client: AIOKafkaConsumer, leader: int | None, partitions: list[TopicPartition], position: int, isolation_level: int
) -> dict[TopicPartition, int | KafkaError]:
    topics: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for topic, partition in partitions:
        topics[topic].append((partition, position))
    response = await client._client.send(leader, OffsetRequest(-1, isolation_level, list(topics.items())))  # noqa: SLF001
    return {
        TopicPartition(topic, partition): for_code(code)(f"{topic}-{partition}") if code else offset
        for topic, answers in response.topics
        for partition, code, _, offset in answers
    }


def _range_or_error(answers: list[int | KafkaError]) -> LogRange | KafkaError:
    for answer in answers:
        if isinstance(answer, KafkaError):
            return answer
    beginning, stable_end, end = (answer for answer in answers if isinstance(answer, int))
    return LogRange(beginning, max(end, stable_end), stable_end)
