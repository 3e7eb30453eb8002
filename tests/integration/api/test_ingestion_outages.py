"""The gateway while Kafka crashes, freezes or loses a topic: responses within a bound, and no acknowledged reading is lost."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient

from deploy.stack.jars import kafka_jars
from deploy.stack.kafka import Kafka
from deploy.stack.processes import Processes
from deploy.stack.servers import Servers
from deploy.stack.topics import create_topics
from tests.integration.api.test_ingestion import (
    JSON,
    NDJSON,
    NOW,
    metric,
    nothing_in_flight,
    read_topic,
    wait_until_ready,
    waiting_for,
)
from tests.support.ledger import Topics
from tests.support.records import meter
from tests.support.responses import StartApi, problem
from tests.support.services import ingestion_service
from tests.support.waiting import until

pytestmark = pytest.mark.anyio
MAX_RESPONSE_SECONDS = 30.0  # INGESTION_ACKNOWLEDGED_WITHIN_SECONDS is 2, and the machine may be busy
MAX_GROWTH_BYTES = 250 * 2**20


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """A broker for these tests alone, which kill and freeze it."""
    with Processes() as processes:
        kafka = Kafka(processes, tmp_path_factory.mktemp("broker"), kafka_jars(print), None)
        kafka.start()
        yield kafka


@pytest.fixture
def own(broker: Kafka, stack: Servers) -> Servers:
    """The servers of the test run, with that broker."""
    return replace(stack, kafka_bootstrap_servers=broker.bootstrap_servers, kafka=broker)


@pytest.fixture
def own_topics(own: Servers, new_topics: Topics) -> Topics:
    names = (new_topics.meter, new_topics.vehicle)
    asyncio.run(create_topics(own.kafka_bootstrap_servers, names, partitions=new_topics.partitions))
    return new_topics


@pytest.fixture
def gateway(processes: Processes, environment: dict[str, str], own: Servers, tmp_path: Path) -> Iterator[StartApi]:
    there = environment | {
        "KAFKA_BOOTSTRAP_SERVERS": own.kafka_bootstrap_servers,
        "INGESTION_ACKNOWLEDGED_WITHIN_SECONDS": "2",
        "LOG_LEVEL": "INFO",
    }
    with ExitStack() as exits:

        def start(**settings: str) -> httpx.Client:
            return exits.enter_context(ingestion_service(processes, there | settings, tmp_path))

        yield start


@asynccontextmanager
async def frozen(broker: Kafka) -> AsyncIterator[None]:
    broker.pause()
    try:
        yield
    finally:
        broker.resume()


def many(client: httpx.Client) -> httpx.AsyncClient:
    """A client for concurrent requests."""
    limits = httpx.Limits(max_connections=None)
    return httpx.AsyncClient(base_url=client.base_url, timeout=120, limits=limits)


def post(client: httpx.Client, meter_id: str) -> tuple[int, float]:
    """The status of the response to a posted reading, and its duration in seconds."""
    began = time.monotonic()
    answer = client.post("/v1/ingestion/meter", content=meter(meter_id, NOW))
    if answer.status_code == 503:
        problem(answer, 503)
        assert int(answer.headers["retry-after"]) > 0
    return answer.status_code, time.monotonic() - began


async def acknowledges_again(client: httpx.Client) -> None:
    async def acknowledged() -> bool:
        return post(client, "METER-after")[0] == 201

    await until(acknowledged, "readings are acknowledged again", every=0.3)


async def test_a_crashed_broker_means_503_in_bounded_time_and_rejected_readings_are_not_sent_later(
    gateway: StartApi, broker: Kafka, own: Servers, own_topics: Topics
) -> None:
    client = gateway()
    await wait_until_ready(client)
    stored = {f"METER-stored-{each}" for each in range(20)}
    assert {post(client, each)[0] for each in stored} == {201}

    await asyncio.to_thread(broker.kill)
    async with many(client) as clients:
        began = time.monotonic()
        lines = b"\n".join(meter(f"METER-lost-batch-{each}", NOW) for each in range(500))
        sent = [clients.post("/v1/ingestion/meter", content=meter(f"METER-lost-{each}", NOW)) for each in range(50)]
        batches = [clients.post("/v1/ingestion/meter/batch", content=lines, headers=NDJSON) for _ in range(3)]
        answers = await asyncio.gather(*sent, *batches)
        assert time.monotonic() - began < MAX_RESPONSE_SECONDS
    assert {each.status_code for each in answers} == {503}
    for answer in answers[-3:]:
        body = problem(answer, 503)
        assert body.get("sendAgain", list(range(500))) == list(range(500))
    status, seconds = post(client, "METER-lost")
    assert (status, seconds < MAX_RESPONSE_SECONDS) == (503, True)
    assert "Kafka" in waiting_for(client)["gateway"]
    assert client.get("/healthz").status_code == 200

    await asyncio.to_thread(broker.start)
    await acknowledges_again(client)
    found = {each.key.decode() for each in await read_topic(own, own_topics, own_topics.meter)}
    assert found == stored | {"METER-after"}
    assert nothing_in_flight(client)
    assert metric(client, "energy_gateway_given_up_total") >= 1


async def acknowledged_of(client: httpx.AsyncClient, ids: list[str]) -> set[str]:
    """Sends a reading of each meter, alone or as a batch, and returns the ids of the acknowledged ones."""
    if len(ids) == 1:
        answer = await client.post("/v1/ingestion/meter", content=meter(ids[0], NOW))
        return set(ids if answer.status_code == 201 else ())
    lines = b"\n".join(meter(each, NOW) for each in ids)
    answer = await client.post("/v1/ingestion/meter/batch", content=lines, headers=NDJSON)
    return {ids[each["index"]] for each in answer.json().get("items", []) if each["status"] == 201}


async def test_no_acknowledged_reading_is_lost_while_the_broker_crashes_repeatedly(
    gateway: StartApi, broker: Kafka, own: Servers, own_topics: Topics
) -> None:
    client = gateway()
    await wait_until_ready(client)
    sent: set[str] = set()
    acknowledged: set[str] = set()
    over = asyncio.Event()

    async def device(number: int) -> None:
        async with many(client) as own_client:
            count = 0
            while not over.is_set():
                count += 1
                ids = [f"METER-{number}-{count}-{each}" for each in range(1 if number % 2 else 40)]
                sent.update(ids)
                acknowledged.update(await acknowledged_of(own_client, ids))

    async with asyncio.TaskGroup() as group:
        for number in range(8):
            group.create_task(device(number))
        for _ in range(2):
            before = len(acknowledged)

            async def more_is_acknowledged(before: int = before) -> bool:
                return len(acknowledged) > before + 100

            await until(more_is_acknowledged, "readings are acknowledged")
            await asyncio.to_thread(broker.kill)
            await asyncio.to_thread(broker.start)
        await until(more_is_acknowledged, "readings are acknowledged after all")
        over.set()
    found = {each.key.decode() for each in await read_topic(own, own_topics, own_topics.meter)}
    assert acknowledged - found == set()
    assert found <= sent


async def test_a_frozen_broker_means_503_in_bounded_time(
    gateway: StartApi, broker: Kafka, own: Servers, own_topics: Topics
) -> None:
    client = gateway()
    await wait_until_ready(client)
    async with frozen(broker):
        for _ in range(2):  # the first request detects the outage
            status, seconds = post(client, "METER-frozen")
            assert (status, seconds < MAX_RESPONSE_SECONDS) == (503, True)
    await acknowledges_again(client)
    assert nothing_in_flight(client)


async def test_requests_above_the_limit_are_rejected_at_once_and_admitted_readings_are_stored(
    gateway: StartApi, broker: Kafka, own: Servers, own_topics: Topics
) -> None:
    client = gateway(
        INGESTION_ACKNOWLEDGED_WITHIN_SECONDS="120",
        INGESTION_BATCH_MAX_ITEMS="50",
        INGESTION_MAX_READINGS_IN_FLIGHT="100",
        INGESTION_MAX_REQUESTS_IN_FLIGHT="60",
    )
    await wait_until_ready(client)
    batch = b"[" + b",".join(meter(f"METER-batch-{each}", NOW) for each in range(50)) + b"]"
    async with many(client) as clients:
        async with frozen(broker):
            admitted: list[asyncio.Task[Any]] = [
                asyncio.create_task(clients.post("/v1/ingestion/meter", content=meter(f"METER-{each}", NOW)))
                for each in range(50)
            ]

            async def in_flight() -> bool:
                return metric(client, "energy_gateway_in_flight") == 50

            await until(in_flight, "50 readings wait for Kafka")
            admitted.append(asyncio.create_task(clients.post("/v1/ingestion/meter/batch", content=batch, headers=JSON)))

            async def full() -> bool:
                return metric(client, "energy_gateway_in_flight") == 100

            await until(full, "100 readings wait for Kafka")
            for path, content in (("/v1/ingestion/meter", meter("METER-x", NOW)), ("/v1/ingestion/meter/batch", batch)):
                refused = client.post(path, content=content, headers=JSON)
                assert "100 readings" in problem(refused, 429)["detail"]
                assert int(refused.headers["retry-after"]) > 0
                assert "connection" not in refused.headers
            assert client.get("/healthz").status_code == 200
        answers = await asyncio.gather(*admitted)
    assert {each.status_code for each in answers} == {201, 200}
    assert len(await read_topic(own, own_topics, own_topics.meter)) == 100
    assert metric(client, "energy_gateway_readings_total", outcome="overloaded") == 2


async def test_memory_is_bounded_under_overload(
    gateway: StartApi, broker: Kafka, own: Servers, own_topics: Topics
) -> None:
    client = gateway()
    await wait_until_ready(client)
    batch = b"[" + b",".join(meter(f"METER-{each}", NOW, note="x" * 250) for each in range(5000)) + b"]"
    assert 1_500_000 < len(batch) < 2_097_152
    client.post("/v1/ingestion/meter/batch", content=batch, headers=JSON).raise_for_status()
    before = metric(client, "process_resident_memory_bytes")
    largest = before
    statuses: set[int] = set()
    async with many(client) as clients, frozen(broker):

        async def send_repeatedly() -> None:
            for _ in range(6):
                with_body = await clients.post("/v1/ingestion/meter/batch", content=batch, headers=JSON)
                statuses.add(with_body.status_code)

        clients_at_work = [asyncio.create_task(send_repeatedly()) for _ in range(64)]
        while not all(each.done() for each in clients_at_work):
            largest = max(largest, await asyncio.to_thread(metric, client, "process_resident_memory_bytes"))
        await asyncio.gather(*clients_at_work)
    assert statuses <= {429, 503}
    assert 429 in statuses
    assert largest - before < MAX_GROWTH_BYTES, f"from {before / 2**20:.0f} to {largest / 2**20:.0f} MiB"
    await acknowledges_again(client)
    assert nothing_in_flight(client)


async def test_a_deleted_topic_is_reported_and_not_created_again(
    gateway: StartApi, own: Servers, own_topics: Topics
) -> None:
    client = gateway()
    await wait_until_ready(client)
    assert post(client, "METER-1")[0] == 201
    admin = AIOKafkaAdminClient(bootstrap_servers=own.kafka_bootstrap_servers)
    await admin.start()
    await admin.delete_topics([own_topics.meter])
    await admin.close()

    async def named() -> bool:
        status, seconds = post(client, "METER-2")
        assert (status, seconds < MAX_RESPONSE_SECONDS) == (503, True)
        return own_topics.meter in waiting_for(client).get("gateway", "")

    await until(named, "the gateway reports the missing topic")
    async with AIOKafkaConsumer(bootstrap_servers=own.kafka_bootstrap_servers) as consumer:
        assert own_topics.meter not in await consumer.topics(), "the broker creates topics that are requested by name"
