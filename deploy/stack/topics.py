"""Topics, made with the number of partitions that somebody has chosen."""

from collections.abc import Iterable

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code


async def create_topics(bootstrap_servers: str, topics: Iterable[str], *, partitions: int, copies: int = 1) -> None:
    """Make the topics that do not exist yet, each partition on `copies` brokers; those that exist stay as they are."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        answer = await admin.create_topics([NewTopic(topic, partitions, copies) for topic in topics])
        for topic, code, message in answer.topic_errors:
            error = for_code(code)
            if code and error is not TopicAlreadyExistsError:
                raise error(f"topic {topic} cannot be made: {message}")
    finally:
        await admin.close()
