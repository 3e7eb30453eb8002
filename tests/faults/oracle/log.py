"""Kafka's log, read directly: the records of the topics, and the journal of what a producer got acknowledged."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

FETCH_MS: Final = 500


class Acknowledged(NamedTuple):
    """A record that Kafka has acknowledged with `acks=all`."""

    partition: TopicPartition
    offset: int
    value: bytes | None


@dataclass(frozen=True, slots=True)
class LogRecord:
    """A record as Kafka holds it; `timestamp` is Kafka's, in milliseconds since 1970."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None

    @property
    def id(self) -> tuple[str, int, int]:
        return self.topic, self.partition, self.offset


@dataclass(frozen=True, slots=True)
class TopicNames:
    """The topics of the system by what they carry; `alert` is the one that it writes."""

    meter: str
    vehicle: str
    register: str
    assignment: str
    alert: str

    def __iter__(self) -> Iterator[str]:
        """The topics that the system reads."""
        return iter((self.meter, self.vehicle, self.register, self.assignment))


async def read_log(servers: str, topics: Iterable[str]) -> list[LogRecord]:
    """All committed records of these topics, ordered by topic, partition and offset. A topic that does not exist is empty."""
    partitions = await _partitions(servers, topics)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=servers,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    await consumer.start()
    try:
        log = await _read(consumer, partitions) if partitions else []
    finally:
        await consumer.stop()
    return sorted(log, key=lambda each: each.id)


async def _partitions(servers: str, topics: Iterable[str]) -> list[TopicPartition]:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        existing = set(await admin.list_topics())  # to describe a missing topic might create it
        described = await admin.describe_topics([each for each in topics if each in existing])
    finally:
        await admin.close()
    return [TopicPartition(topic["topic"], each["partition"]) for topic in described for each in topic["partitions"]]


async def _read(consumer: AIOKafkaConsumer, partitions: list[TopicPartition]) -> list[LogRecord]:
    consumer.assign(partitions)
    ends = await consumer.end_offsets(partitions)
    log: list[LogRecord] = []
    while any([await consumer.position(each) < ends[each] for each in partitions]):
        for records in (await consumer.getmany(timeout_ms=FETCH_MS)).values():
            log += [
                LogRecord(each.topic, each.partition, each.offset, each.timestamp, each.key, each.value)
                for each in records
            ]
    return log
