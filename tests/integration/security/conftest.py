"""Fixtures of the tests on a Kafka with TLS and ACLs."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from deploy.stack.processes import Processes
from deploy.stack.topics import create_topics
from tests.integration.security.secured import Setup
from tests.support.ledger import Topics
from tests.support.responses import StartApi
from tests.support.services import ingestion_service
from tests.tls.kafka import SecuredKafka, consumer_acls, create_acls, ingestion_acls


@pytest.fixture
def setup(secured_kafka: SecuredKafka, new_topics: Topics, environment: dict[str, str], tmp_path: Path) -> Setup:
    alerts = f"alerts-of-{new_topics.meter}"
    read = (new_topics.meter, new_topics.vehicle, new_topics.assignment)
    administrator = secured_kafka.kafka.bootstrap_servers
    asyncio.run(create_topics(administrator, [*read, alerts], partitions=new_topics.partitions))
    asyncio.run(
        create_acls(
            secured_kafka,
            [
                *consumer_acls(read, alerts, environment["KAFKA_GROUP_ID"]),
                *ingestion_acls((new_topics.meter, new_topics.vehicle)),
            ],
        )
    )
    return Setup(secured_kafka, new_topics, alerts, environment | {"KAFKA_ALERT_TOPIC": alerts}, tmp_path)


@pytest.fixture
def start_ingestion(processes: Processes, tmp_path: Path) -> Iterator[StartApi]:
    """Starts the ingestion service alone, without a database, in a given environment."""
    with ExitStack() as exits:

        def start(environment: dict[str, str]) -> httpx.Client:
            without_database = {name: value for name, value in environment.items() if not name.startswith("DATABASE_")}
            return exits.enter_context(ingestion_service(processes, without_database, tmp_path))

        yield start
