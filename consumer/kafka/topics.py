"""Creation of topics, which no client does by itself."""

from collections.abc import Iterable

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import NodeNotReadyError, TopicAlreadyExistsError, for_code

from schemas.config.settings import KafkaSettings


async def create_topics(
    settings: KafkaSettings, topics: Iterable[str], *, partitions: int, replication_factor: int
) -> list[str]:
    """Creates the topics that do not exist yet, leaves existing ones unchanged, and returns the names of the new ones.

    Raises:
        KafkaError: a topic cannot be created, or Kafka does not answer.
    """
    admin = AIOKafkaAdminClient(**settings.client_options())
    try:
        await admin.start()
        # Of a broker that has just started; the client itself would fail with an AttributeError.
        if admin._client.cluster.controller is None:  # noqa: SLF001
            raise NodeNotReadyError("Kafka has no controller yet")
        answer = await admin.create_topics([NewTopic(topic, partitions, replication_factor) for topic in topics])
        for topic, code, message in answer.topic_errors:
            error = for_code(code)
            if code and error is not TopicAlreadyExistsError:
                raise error(f"topic {topic} cannot be created: {message}")
        return [topic for topic, code, _ in answer.topic_errors if not code]
    finally:
        await admin.close()
