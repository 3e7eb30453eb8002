"""Throughput and latency of the read service under load from wrk, while the readings of the fleet are ingested."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx

from deploy.stack.processes import Processes
from tests.bench.instruments.cpu_time import CpuTime
from tests.bench.instruments.results import Result, with_medians
from tests.bench.instruments.wrk import Load, run_wrk, wrk_is_installed
from tests.bench.setup.backlog import new_topics
from tests.bench.setup.harness import Harness
from tests.bench.setup.simulated_fleet import start_simulator
from tests.bench.setup.stored_day import current_minute, stored_day
from tests.support.services import ConsumerGroup, read_service, service_environment

VEHICLES: Final = 10_000
SECONDS: Final = 20
ONE_CONNECTION: Final = 1  # what a request takes
SATURATING_CONNECTIONS: Final = 16  # each sends its next request as soon as it is answered: what the service can give
SCRIPT: Final = Path(__file__).with_name("api.lua")
VEHICLES_PER_REQUEST: Final = {"api_performance_1": 1, "api_performance_100": 100}


def measure(harness: Harness) -> Iterator[Result]:
    """The 24-hour route with a day of the fleet stored, for one vehicle and for a hundred: p99 of single requests, and requests a
    second of a saturated service.
    """
    if not wrk_is_installed(harness):
        return
    vehicles = harness.scaled(VEHICLES, minimum=1000)
    with stored_day(harness, vehicles, current_minute()) as database, Processes() as processes:
        directory = harness.new_directory("api")
        environment = service_environment(harness.stack, database, new_topics(harness))
        group = ConsumerGroup(processes, environment, directory)
        consumer = group.start()
        start_simulator(processes, environment, group)
        asyncio.run(consumer.until_logged("partitions_assigned"))
        with read_service(processes, environment, directory) as client:
            yield from with_medians(
                result
                for run in range(1, harness.runs + 1)
                for name in VEHICLES_PER_REQUEST
                for result in _latency_and_throughput(harness, client, name, vehicles, run)
            )


def _latency_and_throughput(
    harness: Harness, client: httpx.Client, name: str, vehicles: int, run: int
) -> Iterator[Result]:
    per_request = VEHICLES_PER_REQUEST[name]
    load, details = _load(harness, client, per_request, vehicles, ONE_CONNECTION)
    harness.log_progress(f"{name}, run {run}: one at a time p50 {load.p50_ms:.1f} ms, p99 {load.p99_ms:.1f} ms")
    yield Result(measure=f"{name}_p99", value=round(load.p99_ms, 2), unit="ms", run=run, details=details)
    load, details = _load(harness, client, per_request, vehicles, SATURATING_CONNECTIONS)
    rate = load.requests / load.seconds
    harness.log_progress(
        f"{name}, run {run}: {rate:,.0f} requests/s, p50 {load.p50_ms:.1f} ms, p99 {load.p99_ms:.1f} ms"
    )
    yield Result(measure=name, value=round(rate, 1), unit="requests/s", run=run, details=details)


def _load(
    harness: Harness, client: httpx.Client, per_request: int, vehicles: int, connections: int
) -> tuple[Load, dict[str, float]]:
    before = CpuTime.now(harness.stack, ())
    seconds = harness.scaled(SECONDS, minimum=3)
    load = run_wrk(SCRIPT, str(client.base_url), connections, seconds, per_request, vehicles)
    after = CpuTime.now(harness.stack, ())
    if load.failed or not load.requests:
        raise RuntimeError(f"{load.failed} of {load.requests} requests failed")
    return load, {
        "connections": connections,
        "requests": load.requests,
        "p50_ms": round(load.p50_ms, 2),
        "p99_ms": round(load.p99_ms, 2),
        "postgres_cpu_cores": after.cores(before, load.seconds).get("postgres_cpu_cores", 0.0),
    }
