"""The servers of LOCAL_STACK=containers: the images of docker-compose.yml, with the settings of the local stack."""

import asyncio
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from testcontainers.community.postgres import PostgresContainer
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

from deploy.stack import kafka, postgres
from deploy.stack.ports import free_port
from deploy.stack.servers import Servers

KAFKA_IMAGE: Final = "apache/kafka:4.3.1"
POSTGRES_IMAGE: Final = "postgres:18.0"
PORT: Final = 9092
START_TIMEOUT_SECONDS: Final = 120


@contextmanager
def containers(directory: Path, report: Callable[[str], None]) -> Iterator[Servers]:
    """Kafka and PostgreSQL in containers, with the logins of the local stack. Their data ends with them."""
    report(f"starting {POSTGRES_IMAGE} and {KAFKA_IMAGE} in containers")
    passwords = {login: secrets.token_urlsafe(12) for login in postgres.LOGINS}
    port = free_port()
    with _postgres(passwords["postgres"]) as database, _kafka(port) as broker:
        address = f"{database.get_container_host_ip()}:{database.get_exposed_port(5432)}"
        urls = {login: f"postgresql://{login}:{word}@{address}/" for login, word in passwords.items()}
        asyncio.run(postgres.create_roles(urls["postgres"], passwords))
        yield Servers(
            kafka_bootstrap_servers=f"{broker.get_container_host_ip()}:{port}",
            database_url=f"{urls['migrator']}energy",
            writer_url=f"{urls['writer']}energy",
            reader_url=f"{urls['reader']}energy",
            origin="containers",
            directory=directory,
        )


def _postgres(password: str) -> PostgresContainer:
    settings = [part for name, value in postgres.SETTINGS.items() for part in ("-c", f"{name}={value}")]
    container = PostgresContainer(
        POSTGRES_IMAGE, username="postgres", password=password, dbname="postgres", driver=None
    )
    return container.with_env("POSTGRES_INITDB_ARGS", " ".join(postgres.INITDB_OPTIONS)).with_command(
        ["postgres", *settings]
    )


def _kafka(port: int) -> DockerContainer:
    container = DockerContainer(KAFKA_IMAGE).with_bind_ports(PORT, port)
    settings = kafka.SETTINGS | {
        "listeners": f"PLAINTEXT://:{PORT},CONTROLLER://localhost:9093",
        "advertised.listeners": f"PLAINTEXT://{container.get_docker_client().host()}:{port}",
        "controller.quorum.voters": "1@localhost:9093",
        "log.dirs": "/var/lib/kafka/data",
    }
    for name, value in settings.items():
        container.with_env(f"KAFKA_{name.upper().replace('.', '_')}", value)
    started = LogMessageWaitStrategy("Kafka Server started").with_startup_timeout(START_TIMEOUT_SECONDS)
    return container.waiting_for(started)
