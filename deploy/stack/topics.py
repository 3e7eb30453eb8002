"""Creation of Kafka topics on a broker without encryption and logins."""

from collections.abc import Iterable

from consumer.kafka import topics as kafka


async def create_topics(
    bootstrap_servers: str, topics: Iterable[str], *, partitions: int, replication_factor: int = 1
) -> None:
    """Creates the topics that do not exist yet and leaves existing ones unchanged."""
    await kafka.create_topics(
        {"bootstrap_servers": bootstrap_servers}, topics, partitions=partitions, replication_factor=replication_factor
    )
