"""Creation of Kafka topics on a broker without encryption and logins."""

from collections.abc import Iterable

from consumer.kafka import topics as kafka
from schemas.config.settings import KafkaSettings


async def create_topics(
    bootstrap_servers: str, topics: Iterable[str], *, partitions: int, replication_factor: int = 1
) -> None:
    """Creates the topics that do not exist yet and leaves existing ones unchanged."""
    broker = KafkaSettings(kafka_bootstrap_servers=bootstrap_servers, kafka_security_protocol="PLAINTEXT")
    await kafka.create_topics(broker, topics, partitions=partitions, replication_factor=replication_factor)
