"""An ordinary day: 20,000 devices report once a minute. How soon a reading can be queried, and what that costs."""

import asyncio
import time
from collections.abc import Iterator
from random import Random
from typing import Final

import psutil

from deploy.stack.processes import Processes, end_of
from tests.bench.instruments.cpu_time import CpuTime
from tests.bench.instruments.freshness import MAX_PAUSE_SECONDS, connected_probe
from tests.bench.instruments.results import Result, percentiles, with_medians
from tests.bench.setup.backlog import new_topics
from tests.bench.setup.harness import Harness
from tests.bench.setup.simulated_fleet import start_simulator
from tests.support.database import Database
from tests.support.ledger import Topics
from tests.support.services import ConsumerGroup, ConsumerProcess, service_environment

SECONDS: Final = 300


def measure(harness: Harness) -> Iterator[Result]:
    """p50 and p99 from producing a reading to finding it with a query; CPU time, memory and transactions meanwhile."""
    yield from with_medians(_run(harness, run) for run in range(1, harness.runs + 1))


def _run(harness: Harness, run: int) -> Result:
    topics, directory = new_topics(harness), harness.new_directory("steady")
    with harness.empty_database() as database, Processes() as processes:
        environment = service_environment(harness.stack, database, topics)
        group = ConsumerGroup(processes, environment, directory)
        consumer = group.start()
        simulator = start_simulator(processes, environment, group)
        return asyncio.run(_observe(harness, database, topics, consumer, simulator, run))


async def _observe(
    harness: Harness, database: Database, topics: Topics, consumer: ConsumerProcess, simulator: psutil.Popen, run: int
) -> Result:
    await consumer.until_logged("partitions_assigned")
    seconds, dice, peak_memory, latencies = harness.scaled(SECONDS, minimum=10), Random(run), 0, []
    async with connected_probe(harness, database, topics) as probe:
        batches, records = await _written(consumer)
        cpu, started = CpuTime.now(harness.stack, [consumer.process]), time.monotonic()
        while (elapsed := time.monotonic() - started) < seconds:
            latencies.append(await probe.seconds_until_stored())
            peak_memory = max(peak_memory, consumer.process.memory_info().rss)
            if simulator.poll() is not None or consumer.process.poll() is not None:
                raise RuntimeError(f"a process has ended:\n{end_of(consumer.log)}")
            await asyncio.sleep(dice.uniform(0, MAX_PAUSE_SECONDS))
        cores = CpuTime.now(harness.stack, [consumer.process]).cores(cpu, elapsed)
        batches_after, records_after = await _written(consumer)
    p50, p99 = percentiles(latencies)
    harness.log_progress(f"steady, run {run}: readings can be queried after {p50:.0f} ms, p99 {p99:.0f} ms")
    details = {
        "p50_ms": round(p50, 1),
        "slowest_ms": round(max(latencies) * 1000, 1),
        "probes": len(latencies),
        "records_per_second": round((records_after - records) / elapsed, 1),
        "transactions_per_second": round((batches_after - batches) / elapsed, 2),
        "replica_rss_mib": round(peak_memory / 2**20, 1),
    }
    return Result(measure="steady_freshness_p99", value=round(p99, 1), unit="ms", run=run, details=details | cores)


async def _written(consumer: ConsumerProcess) -> tuple[float, float]:
    """Batches and records that the consumer has written so far."""
    return await consumer.metric("energy_batch_records_count"), await consumer.metric("energy_batch_records_sum")
