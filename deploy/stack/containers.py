"""LOCAL_STACK=containers: the same servers from container images, through testcontainers. Not tried where no engine runs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from testcontainers.kafka import KafkaContainer
from testcontainers.postgres import PostgresContainer

from deploy.stack.servers import Servers

KAFKA_IMAGE: Final = "confluentinc/cp-kafka:8.1.0"
POSTGRES_IMAGE: Final = "postgres:18"


@contextmanager
def containers(directory: Path, say: Callable[[str], None]) -> Iterator[Servers]:
    """Kafka and PostgreSQL in containers; one superuser takes the part of all three logins."""
    say(f"starting {POSTGRES_IMAGE} and {KAFKA_IMAGE} in containers")
    postgres = PostgresContainer(POSTGRES_IMAGE, dbname="energy", driver=None)
    with postgres, KafkaContainer(KAFKA_IMAGE).with_kraft() as kafka:
        url = postgres.get_connection_url()
        yield Servers(kafka.get_bootstrap_server(), url, url, url, "containers", directory)
