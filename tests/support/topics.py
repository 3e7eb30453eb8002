"""Kafka's topics in a test: created on chosen brokers, written to, described, deleted, given more partitions."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.consumer import fetcher
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from tests.support.waiting import until

REQUEST_TIMEOUT_MS = 5_000


@asynccontextmanager
async def kafka_admin(bootstrap_servers: str) -> AsyncIterator[Any]:
    """A started AIOKafkaAdminClient."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers, request_timeout_ms=REQUEST_TIMEOUT_MS)
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


async def list_topics(bootstrap_servers: str) -> set[str]:
    async with kafka_admin(bootstrap_servers) as admin:
        return set(await admin.list_topics())


async def delete_topic(bootstrap_servers: str, topic: str) -> None:
    async with kafka_admin(bootstrap_servers) as admin:
        await admin.delete_topics([topic])


async def add_partitions(bootstrap_servers: str, topic: str, total: int) -> None:
    """Raises the number of partitions of a topic to `total`."""
    async with kafka_admin(bootstrap_servers) as admin:
        response = await admin.create_partitions({topic: NewPartitions(total)})
    for _, code, message in response.topic_errors:
        if code:
            raise for_code(code)(message)


async def place_topics(
    bootstrap_servers: str, topics: Mapping[str, Mapping[int, list[int]]], settings: Mapping[str, str]
) -> None:
    """Creates topics whose partitions are on chosen brokers: topic -> partition -> brokers, the preferred leader first.

    The request is repeated while no controller answers, as it is after a controller was killed.
    """
    placed = [
        NewTopic(name, -1, -1, replica_assignments=brokers, topic_configs=settings) for name, brokers in topics.items()
    ]

    async def exist() -> bool:
        try:
            async with kafka_admin(bootstrap_servers) as admin:
                answer = await admin.create_topics(placed)
        except (KafkaError, TimeoutError):
            return False
        errors = [(for_code(code), message) for _, code, message in answer.topic_errors if code]
        for error, message in errors:
            if error is not TopicAlreadyExistsError and not error.retriable:
                raise error(message)
        return all(error is TopicAlreadyExistsError for error, _ in errors)

    await until(exist, f"{', '.join(topics)} are created", every=0.2)


async def describe_topic(bootstrap_servers: str, topic: str) -> dict[int, dict[str, Any]]:
    """Kafka's description of each partition, by number; asked for again while the client names a broker that is down."""

    async def described() -> list[dict[str, Any]] | None:
        try:
            async with kafka_admin(bootstrap_servers) as admin:
                (found,) = await admin.describe_topics([topic])
        except KafkaError:
            return None
        partitions: list[dict[str, Any]] = found["partitions"]
        return partitions

    return {each["partition"]: each for each in await until(described, f"a broker describes {topic}", every=0.2) or ()}


async def produce(bootstrap_servers: str, topic: str, values: Iterable[bytes], *, partition: int | None = None) -> None:
    """Sends records without a key and waits until all are acknowledged."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all") as producer:
        sent = [await producer.send(topic, value, partition=partition) for value in values]
        await asyncio.gather(*sent)


def restore_library_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """The consumer's client replaces classes of aiokafka for its whole process; other tests of it need the library's own."""
    for name in ("PartitionRecords", "FetchResult", "MemoryRecords"):
        monkeypatch.setattr(fetcher, name, getattr(fetcher, name))
