"""Fixtures of the integration tests: the read service, stored readings, a standby, and servers with TLS."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka import TopicPartition
from pydantic import SecretStr

from consumer.records.batch import BatchResult
from consumer.storage.offsets import StoredOffsets
from consumer.storage.store import Store
from deploy.stack.postgres import Postgres
from deploy.stack.processes import Processes
from deploy.stack.resolve import clear
from deploy.stack.servers import Servers
from sql.connection import WRITER_SETTINGS, pool
from tests.support.database import Database
from tests.support.records import batch, records
from tests.support.responses import StartApi
from tests.support.services import read_service
from tests.tls.kafka import SecuredKafka, run_secured_kafka
from tests.tls.postgres import TlsPostgres, run_tls_postgres


@pytest.fixture
def start_api(processes: Processes, environment: dict[str, str], tmp_path: Path) -> Iterator[StartApi]:
    """Starts the read service, with other settings where given, and returns a client for it."""
    with ExitStack() as exits:

        def start(**settings: str) -> httpx.Client:
            return exits.enter_context(read_service(processes, environment | settings, tmp_path))

        yield start


@pytest.fixture
async def connections(database: Database) -> AsyncIterator[Any]:
    """A connection pool with the consumer's login."""
    async with pool(
        SecretStr(database.writer_url), size=2, server_settings=WRITER_SETTINGS, command_timeout=30
    ) as opened:
        yield opened


@pytest.fixture
async def write(database: Database) -> AsyncIterator[Any]:
    """Writes readings and registers as the consumer does, and returns the result of the batch."""
    positions = Counter[str]()
    async with pool(SecretStr(database.writer_url), size=2, server_settings=WRITER_SETTINGS, command_timeout=30) as to:
        store, stored = Store(to, "test"), StoredOffsets(to, "test")

        async def store_readings(**readings: list[bytes]) -> BatchResult:
            partitions = []
            for device, values in readings.items():
                await stored.insert_missing({TopicPartition(f"{device}-readings", 0): 0})
                partitions.append(records(values, topic=f"{device}-readings", offset=positions[device]))
                positions[device] += len(values)
            return await store.write(batch(*partitions))

        yield store_readings


@pytest.fixture
def standby(stack: Servers, database: Database) -> Iterator[Postgres]:
    """A PostgreSQL standby that replicates the primary of this run."""
    if stack.postgres is None:
        pytest.skip("a standby needs the PostgreSQL that the local stack runs from packages")
    directory = stack.directory / f"standby-of-{database.name}"
    follower = stack.postgres.standby(
        directory, {"shared_buffers": "64MB", "max_standby_streaming_delay": "0", "hot_standby_feedback": "off"}
    )
    follower.start()
    yield follower
    follower.kill()
    clear(directory)


@pytest.fixture(scope="module")
def secured_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """A Kafka broker that requires TLS and SASL authentication."""
    with run_secured_kafka(tmp_path_factory.mktemp("secured_kafka"), print) as running:
        yield running


@pytest.fixture(scope="module")
def tls_postgres(stack: Servers) -> Iterator[TlsPostgres]:
    """A PostgreSQL that accepts only TLS."""
    with run_tls_postgres(stack, print) as running:
        yield running
