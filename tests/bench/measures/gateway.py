"""Readings a second that the HTTP gateway acknowledges, one a request and in batches, under load from wrk.

The gateway runs alone, as one process without a database, and answers after Kafka's acknowledgement. The records in Kafka are
counted afterwards.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
from aiokafka import AIOKafkaConsumer, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from deploy.stack.processes import Processes
from tests.bench.instruments.cpu_time import CpuTime
from tests.bench.instruments.results import Result, with_medians
from tests.bench.instruments.wrk import run_wrk, wrk_is_installed
from tests.bench.setup.backlog import new_topics
from tests.bench.setup.harness import Harness
from tests.support.ledger import Topics
from tests.support.services import ingestion_service, service_environment
from tests.support.waiting import until

SECONDS: Final = 15
DEVICES: Final = 10_000
SCRIPT: Final = Path(__file__).with_name("gateway.lua")
# readings a request, connections
LOADS: Final = {"gateway_single": (1, 128), "gateway_batch": (1000, 8)}


def measure(harness: Harness) -> Iterator[Result]:
    """Acknowledged readings a second: one a request over 128 connections, and a thousand a request over 8."""
    if not wrk_is_installed(harness):
        return
    topics = new_topics(harness)
    with harness.empty_database() as database, Processes() as processes:
        environment = service_environment(harness.stack, database, topics)
        with ingestion_service(processes, environment, harness.new_directory("gateway")) as client:
            asyncio.run(_until_ready(client))
            yield from with_medians(
                _post_readings(harness, client, topics, name, run)
                for run in range(1, harness.runs + 1)
                for name in LOADS
            )


def _post_readings(harness: Harness, client: httpx.Client, topics: Topics, name: str, run: int) -> Result:
    per_request, connections = LOADS[name]
    held_before = asyncio.run(_records_in_kafka(harness, topics))
    gateway_cpu, server_cpu = _gateway_cpu_seconds(client), CpuTime.now(harness.stack, ())
    seconds = harness.scaled(SECONDS, minimum=3)
    load = run_wrk(SCRIPT, str(client.base_url), connections, seconds, per_request, DEVICES)
    held = asyncio.run(_records_in_kafka(harness, topics)) - held_before
    sent = load.requests * per_request
    if (
        load.failed or held < sent or held > sent + connections * per_request
    ):  # requests in flight at the end are not in `sent`
        raise RuntimeError(f"{load.failed} of {load.requests} requests failed; {sent} were sent, Kafka holds {held}")
    rate = sent / load.seconds
    harness.log_progress(
        f"{name}, run {run}: {rate:,.0f} readings/s, p50 {load.p50_ms:.1f} ms, p99 {load.p99_ms:.1f} ms"
    )
    kafka_cpu = CpuTime.now(harness.stack, ()).per_record(server_cpu, held).get("kafka_cpu_us_per_record", 0.0)
    details = {
        "connections": connections,
        "p50_ms": round(load.p50_ms, 2),
        "p99_ms": round(load.p99_ms, 2),
        "gateway_cpu_us_per_record": round((_gateway_cpu_seconds(client) - gateway_cpu) * 1e6 / held, 3),
        "kafka_cpu_us_per_record": kafka_cpu,
    }
    return Result(measure=name, value=round(rate, 1), unit="readings/s", run=run, details=details)


def _gateway_cpu_seconds(client: httpx.Client) -> float:
    """CPU seconds of the gateway, from its own metrics."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return next(
        each.value for family in families for each in family.samples if each.name == "process_cpu_seconds_total"
    )


async def _until_ready(client: httpx.Client) -> None:
    async def is_ready() -> bool:
        return not _waiting_for(client)

    await until(is_ready, "the gateway is ready")


def _waiting_for(client: httpx.Client) -> dict[str, str]:
    waiting_for: dict[str, str] = client.get("/readyz").json()["waitingFor"]
    return waiting_for


async def _records_in_kafka(harness: Harness, topics: Topics) -> int:
    async with AIOKafkaConsumer(bootstrap_servers=harness.stack.kafka_bootstrap_servers) as consumer:
        partitions = [TopicPartition(topics.meter, each) for each in range(topics.partitions)]
        return sum((await consumer.end_offsets(partitions)).values())
