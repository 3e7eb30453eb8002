"""The HTTP gateway on a real Kafka: what it takes, what it says when it cannot, and that nobody can hold it up."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from deploy.stack.processes import Processes
from deploy.stack.resolve import Servers
from tests.answers import Ask, body
from tests.records import vehicle
from tests.servers import Topics
from tests.services import gateway_service
from tests.waiting import until

pytestmark = pytest.mark.anyio
NOW = datetime.now(UTC)
NDJSON = {"Content-Type": "application/x-ndjson"}
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def gateway(processes: Processes, environment: dict[str, str], tmp_path: Path) -> Iterator[Ask]:
    """Starts the gateway in a process of its own, that knows of no database, and gives a client for it."""
    alone = {name: value for name, value in environment.items() if not name.startswith("DATABASE_")}
    with ExitStack() as exits:

        def start(**settings: str) -> httpx.Client:
            return exits.enter_context(gateway_service(processes, alone | settings, tmp_path))

        yield start


async def is_ready(client: httpx.Client) -> None:
    async def ready() -> bool:
        return client.get("/readyz").status_code == 200

    await until(ready, "the gateway is ready")


async def records_of(stack: Servers, topics: Topics, topic: str) -> list[Any]:
    """Everything in a topic."""
    async with AIOKafkaConsumer(bootstrap_servers=stack.kafka_bootstrap_servers, enable_auto_commit=False) as consumer:
        partitions = [TopicPartition(topic, each) for each in range(topics.partitions)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning()
        ends = await consumer.end_offsets(partitions)
        found: list[Any] = []
        while len(found) < sum(ends.values()):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                found += records
        return found


async def metric(client: httpx.Client, name: str, **labels: str) -> float:
    return sum(
        sample.value
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


async def test_a_batch_of_either_form_is_in_kafka_item_by_item(gateway: Ask, stack: Servers, topics: Topics) -> None:
    client = gateway()
    await is_ready(client)
    readings = [vehicle(f"VEH-{each}", NOW, each / 10) for each in range(250)]
    posted = (
        ({"content": b"[" + b",".join(readings[:100]) + b"]", "headers": JSON}, 100),
        ({"content": b"\n".join(readings[100:]) + b"\n\n", "headers": NDJSON}, 150),
    )
    for request, count in posted:
        answer = body(client.post("/v1/ingestion/vehicle/batch", **request))
        assert (answer["ingested"], answer["refused"], answer["sendAgain"]) == (count, 0, [])
        assert [each["index"] for each in answer["items"]] == list(range(count))
    stored = await records_of(stack, topics, topics.vehicle)
    assert {each.key.decode(): json.loads(each.value)["kwhDeliveredDc"] for each in stored} == {
        f"VEH-{each}": each / 10 for each in range(250)
    }
    assert len(stored) == 250
    counted = await metric(client, "energy_gateway_readings_total", topic=topics.vehicle, outcome="acknowledged")
    assert counted == 250
