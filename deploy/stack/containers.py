"""The servers of LOCAL_STACK=containers, run by testcontainers. Not tried: no container engine was available."""

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
def containers(directory: Path, report: Callable[[str], None]) -> Iterator[Servers]:
    """Kafka and PostgreSQL in containers. One superuser serves as all three logins."""
    report(f"starting {POSTGRES_IMAGE} and {KAFKA_IMAGE} in containers")
    postgres = PostgresContainer(POSTGRES_IMAGE, dbname="energy", driver=None)
    with postgres, KafkaContainer(KAFKA_IMAGE).with_kraft() as kafka:
        url = postgres.get_connection_url()
        yield Servers(kafka.get_bootstrap_server(), url, url, url, "containers", directory)
