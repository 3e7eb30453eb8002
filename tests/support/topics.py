"""Changes of Kafka topics during a test: deletion, and more partitions."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.errors import for_code


@asynccontextmanager
async def _admin(bootstrap_servers: str) -> AsyncIterator[Any]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def list_topics(bootstrap_servers: str) -> set[str]:
    async with _admin(bootstrap_servers) as admin:
        return set(await admin.list_topics())


async def delete_topic(bootstrap_servers: str, topic: str) -> None:
    async with _admin(bootstrap_servers) as admin:
        await admin.delete_topics([topic])


async def add_partitions(bootstrap_servers: str, topic: str, total: int) -> None:
    """Raises the number of partitions of a topic to `total`."""
    async with _admin(bootstrap_servers) as admin:
        response = await admin.create_partitions({topic: NewPartitions(total)})
    for _, code, message in response.topic_errors:
        if code:
            raise for_code(code)(message)
