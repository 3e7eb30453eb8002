"""How many readings a second the HTTP gateway takes, one a request and in batches: one process, answers after Kafka's.

wrk makes the load, as for `api`; the gateway runs alone, without a database. What Kafka holds afterwards is counted.
"""

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from deploy.stack.processes import Processes
from tests.bench.costs import Costs
from tests.bench.ground import Ground, Result, with_medians
from tests.bench.load import Load
from tests.bench.steady import fleet_topics
from tests.support.ledger import Topics
from tests.support.services import ingestion_service, service_environment
from tests.support.waiting import until

SECONDS: Final = 15
DEVICES: Final = 10_000
SCRIPT: Final = Path(__file__).with_name("gateway.lua")
# readings a request, connections
LOADS: Final = {"gateway_single": (1, 128), "gateway_batch": (1000, 8)}


def measure(ground: Ground) -> Iterator[Result]:
    """Readings a second that were acknowledged, one by one over 128 connections and a thousand at a time over 8."""
    if not shutil.which("wrk"):
        ground.say("left out: wrk is not installed (apt-get install wrk)")
        return
    topics = fleet_topics(ground)
    with ground.database() as database, Processes() as processes:
        environment = service_environment(ground.stack, database, topics)
        with ingestion_service(processes, environment, ground.new_directory("gateway")) as client:
            asyncio.run(_ready(client))
            yield from with_medians(
                _posted(ground, client, topics, name, run) for run in range(1, ground.runs + 1) for name in LOADS
            )


def _posted(ground: Ground, client: httpx.Client, topics: Topics, name: str, run: int) -> Result:
    readings, connections = LOADS[name]
    held, spent, costs = asyncio.run(_held(ground, topics)), _cpu(client), Costs.now(ground.stack, ())
    load = _load(str(client.base_url), readings, connections, ground.scaled(SECONDS, least=3))
    kept, sent = asyncio.run(_held(ground, topics)) - held, load.requests * readings
    if load.failed or kept < sent or kept > sent + connections * readings:
        raise RuntimeError(f"{load.failed} of {load.requests} requests failed; {sent} were sent, Kafka holds {kept}")
    rate = sent / load.seconds
    ground.say(f"{name}, run {run}: {rate:,.0f} readings/s, p50 {load.p50_ms:.1f} ms, p99 {load.p99_ms:.1f} ms")
    details = {
        "connections": connections,
        "p50_ms": round(load.p50_ms, 2),
        "p99_ms": round(load.p99_ms, 2),
        "gateway_cpu_us_per_record": round((_cpu(client) - spent) * 1e6 / kept, 3),
        "kafka_cpu_us_per_record": Costs.now(ground.stack, ())
        .per_record(costs, kept)
        .get("kafka_cpu_us_per_record", 0.0),
    }
    return Result(measure=name, value=round(rate, 1), unit="readings/s", run=run, details=details)


def _load(address: str, readings: int, connections: int, seconds: int) -> Load:
    command = [
        "wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s", "--timeout", "20s",
        "--script", str(SCRIPT), address, "--", str(readings), str(DEVICES),
    ]  # fmt: skip
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return msgspec.json.decode(printed.strip().splitlines()[-1], type=Load)


def _cpu(client: httpx.Client) -> float:
    """CPU seconds of the gateway, as it says itself."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return next(
        each.value for family in families for each in family.samples if each.name == "process_cpu_seconds_total"
    )


async def _ready(client: httpx.Client) -> None:
    async def ready() -> bool:
        return not _waits_for(client)

    await until(ready, "the gateway is ready")


def _waits_for(client: httpx.Client) -> dict[str, str]:
    waiting: dict[str, str] = client.get("/readyz").json()["waitingFor"]
    return waiting


async def _held(ground: Ground, topics: Topics) -> int:
    """Records in Kafka."""
    async with AIOKafkaConsumer(bootstrap_servers=ground.stack.kafka_bootstrap_servers) as consumer:
        partitions = [TopicPartition(topics.meter, each) for each in range(topics.partitions)]
        return sum((await consumer.end_offsets(partitions)).values())
