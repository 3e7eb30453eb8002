"""The simulation's model of Kafka and of aiokafka against the real ones: the same scripts, the same outcomes."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import RecordsToDelete

from consumer.kafka.client import start_client
from consumer.kafka.fetch_state import fetch_positions
from consumer.monitoring.health import Health
from consumer.settings import ConsumerSettings
from deploy.stack.servers import Servers
from deploy.stack.topics import create_topics
from tests.simulation.event_loop import ProcessLoop, Scheduler
from tests.simulation.kafka.broker import Broker
from tests.simulation.kafka.client import SimulatedConsumer
from tests.simulation.kafka.log import PartitionLog
from tests.simulation.kafka.scripts import SCRIPTS, Script
from tests.support.ledger import Topics
from tests.support.topics import kafka_admin, restore_library_afterwards

pytestmark = pytest.mark.anyio
PARTITIONS = 2
SESSION_SECONDS = 6.0


@pytest.fixture(autouse=True)
def _restored_library(monkeypatch: pytest.MonkeyPatch) -> None:
    restore_library_afterwards(monkeypatch)


class RealTopic:
    """A topic of the run's broker, read by the consumer's own client."""

    def __init__(self, servers: str, name: str, exits: AsyncExitStack) -> None:
        self.name = name
        self._servers = servers
        self._exits = exits
        self._producers: dict[str, AIOKafkaProducer] = {}

    async def client(self) -> Any:
        settings = ConsumerSettings(
            _env_file=None,
            database_url="postgresql://unused/unused",
            kafka_bootstrap_servers=self._servers,
            kafka_group_id=self.name,
            kafka_session_timeout_ms=int(SESSION_SECONDS * 1000),
        )
        client = await start_client(settings, Health())
        self._exits.push_async_callback(client.stop)
        return client

    async def append(self, records: int, transaction: str = "") -> None:
        producer = self._producers.get(transaction)
        if producer is None:
            options = {"transactional_id": f"{self.name}-{transaction}"} if transaction else {"acks": "all"}
            producer = AIOKafkaProducer(bootstrap_servers=self._servers, **options)
            await self._exits.enter_async_context(producer)
            self._producers[transaction] = producer
            if transaction:
                await producer.begin_transaction()
        for _ in range(records):
            await producer.send_and_wait(self.name, b"record", partition=0)

    async def end(self, transaction: str, *, abort: bool = False) -> None:
        producer = self._producers[transaction]
        await (producer.abort_transaction() if abort else producer.commit_transaction())

    async def delete_before(self, offset: int) -> None:
        async with kafka_admin(self._servers) as admin:
            await admin.delete_records({TopicPartition(self.name, 0): RecordsToDelete(before_offset=offset)})

    def positions(self, client: AIOKafkaConsumer) -> dict[TopicPartition, int]:
        return fetch_positions(client)


class ModelTopic:
    """The same of the models."""

    name = "model"

    def __init__(self, scheduler: Scheduler, loop: ProcessLoop) -> None:
        self._loop = loop
        self._broker = Broker(scheduler, Random(2), SESSION_SECONDS)
        self._transactions: dict[str, int] = {}
        self._clients: list[SimulatedConsumer] = []
        for number in range(PARTITIONS):
            partition = TopicPartition(self.name, number)
            self._broker.logs[partition] = PartitionLog(partition)
        self._log = self._broker.logs[TopicPartition(self.name, 0)]

    async def client(self) -> Any:
        client = SimulatedConsumer(self._broker, self._loop, None, SESSION_SECONDS)
        await client.start()
        self._clients.append(client)
        return client

    async def run(self, script: Script) -> list[Any]:
        try:
            return await script(self)
        finally:
            for client in self._clients:
                await client.stop()

    async def append(self, records: int, transaction: str = "") -> None:
        producer = self._transactions.setdefault(transaction, len(self._transactions)) if transaction else None
        for _ in range(records):
            self._log.append(b"record", b"", 0, None, producer)
        self._broker.changed()

    async def end(self, transaction: str, *, abort: bool = False) -> None:
        self._log.end_transaction(self._transactions[transaction], abort=abort, timestamp=0)
        self._broker.changed()

    async def delete_before(self, offset: int) -> None:
        self._log.delete_before(offset)

    def positions(self, client: SimulatedConsumer) -> dict[TopicPartition, int]:
        return client.fetch_positions()


@asynccontextmanager
async def real_topic(stack: Servers, name: str) -> AsyncIterator[RealTopic]:
    await create_topics(stack.kafka_bootstrap_servers, [name], partitions=PARTITIONS)
    async with AsyncExitStack() as exits:
        yield RealTopic(stack.kafka_bootstrap_servers, name, exits)


def on_model(script: Script) -> list[Any]:
    scheduler = Scheduler(Random(1))
    loop = ProcessLoop(scheduler, _fail)
    task = loop.create_task(ModelTopic(scheduler, loop).run(script))
    task.add_done_callback(lambda _: scheduler.stop())
    scheduler.run(until=120.0)
    outcome: list[Any] = task.result()
    return outcome


def _fail(context: dict[str, Any]) -> None:
    raise AssertionError(context)


@pytest.mark.parametrize("script", SCRIPTS, ids=[script.__name__ for script in SCRIPTS])
async def test_the_model_does_what_kafka_and_aiokafka_do(script: Script, stack: Servers, new_topics: Topics) -> None:
    async with real_topic(stack, new_topics.meter) as topic:
        real = await script(topic)
    with ThreadPoolExecutor(1) as threads:  # the model has an event loop of its own
        model = await asyncio.get_running_loop().run_in_executor(threads, on_model, script)
    assert model == real
