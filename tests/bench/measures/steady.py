"""An ordinary day: each device reports once a minute. How soon a reading can be queried, and what that costs."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from random import Random
from statistics import median, quantiles
from typing import Final

import psutil

from deploy.sizing.model import partitions_of
from deploy.stack.processes import Processes, end_of
from tests.bench.instruments.cpu_time import CpuTime
from tests.bench.instruments.drain_run import WAL_BYTES
from tests.bench.instruments.freshness import MAX_PAUSE_SECONDS, PROBE, connected_probe
from tests.bench.instruments.results import Result, percentiles, with_medians
from tests.bench.setup.backlog import VEHICLES, new_topics
from tests.bench.setup.harness import Harness
from tests.bench.setup.live_delays import LiveDelays
from tests.bench.setup.simulated_fleet import start_simulator
from tests.support.database import Database
from tests.support.ledger import Topics
from tests.support.services import ConsumerGroup, ConsumerProcess, service_environment
from tests.support.waiting import until

SECONDS: Final = 300
SECONDS_FOR_DELAYS: Final = 120
MIN_SECONDS_FOR_DELAYS: Final = 20
MINUTE: Final = 60.0
START_SECONDS: Final = 300.0
DELAYS: Final = """
SELECT whole_milliseconds(recorded_at, ingested_at)::integer AS delay FROM meter_telemetry_history WHERE meter_id = $1"""
IS_CURRENT: Final = "SELECT max(recorded_at) > now() - interval '5 s' FROM meter_live_status WHERE meter_id <> $1"


@dataclass(slots=True)
class Observed:
    """Probes of one run: seconds since its start, and seconds until the reading of each was stored; highest memory (bytes).

    `delays` are the milliseconds from `recorded_at` to `ingested_at` of the probes, as the database has them.
    """

    moments: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    delays: list[int] = field(default_factory=list)
    peak_memory: int = 0

    def details(self) -> dict[str, float]:
        """p50 and slowest of all probes, p99 of those of the first and of the last minute; milliseconds and MiB."""
        last = self.moments[-1] - MINUTE
        first_minute = [each for at, each in self._probes() if at <= MINUTE]
        last_minute = [each for at, each in self._probes() if at >= last]
        return {
            "p50_ms": round(percentiles(self.latencies)[0], 1),
            "slowest_ms": round(max(self.latencies) * 1000, 1),
            "first_minute_p99_ms": round(percentiles(first_minute)[1], 1),
            "last_minute_p99_ms": round(percentiles(last_minute)[1], 1),
            "ingested_after_p50_ms": median(self.delays),
            "ingested_after_p99_ms": quantiles(self.delays, n=100, method="inclusive")[98],
            "probes": len(self.latencies),
            "replica_rss_mib": round(self.peak_memory / 2**20, 1),
        }

    def _probes(self) -> Iterator[tuple[float, float]]:
        return zip(self.moments, self.latencies, strict=True)


def measure(harness: Harness) -> Iterator[Result]:
    """p50 and p99 from producing a reading to finding it with a query; CPU time, memory and transactions meanwhile."""
    yield from with_medians(run_steadily(harness, run) for run in range(1, harness.runs + 1))


def run_steadily(
    harness: Harness, run: int, *, measure: str = "steady_freshness_p99", vehicles: int = VEHICLES
) -> Result:
    """One run of a fleet of so many vehicles and as many meters."""
    observed, details = _run(harness, run, vehicles)
    p50, p99 = percentiles(observed.latencies)
    harness.log_progress(f"{measure}, run {run}: readings can be queried after {p50:.0f} ms, p99 {p99:.0f} ms")
    details = observed.details() | details | {"devices": 2 * vehicles}
    return Result(measure=measure, value=round(p99, 1), unit="ms", run=run, details=details)


def live_delays(harness: Harness) -> LiveDelays:
    """From `recorded_at` to `ingested_at` of the probes, while the fleet sends at its rate.

    A probe is sent when it is recorded, a reading of the simulator up to 100 ms later.
    """
    seconds = harness.scaled(SECONDS_FOR_DELAYS, minimum=MIN_SECONDS_FOR_DELAYS)
    observed, _ = _run(replace(harness, scale=seconds / SECONDS), 1, VEHICLES)
    delays = LiveDelays.of(observed.delays)
    harness.log_progress(f"{len(observed.delays)} live readings: {delays.details()}")
    return delays


def _run(harness: Harness, run: int, vehicles: int) -> tuple[Observed, dict[str, float]]:
    topics, directory = new_topics(harness, partitions_of(2 * vehicles)), harness.new_directory("steady")
    with harness.empty_database() as database, Processes() as processes:
        environment = service_environment(harness.stack, database, topics)
        group = ConsumerGroup(processes, environment, directory)
        consumer = group.start()
        simulator = start_simulator(processes, environment, group, vehicles)
        return asyncio.run(_observe(harness, database, topics, consumer, simulator, run))


async def _observe(
    harness: Harness, database: Database, topics: Topics, consumer: ConsumerProcess, simulator: psutil.Popen, run: int
) -> tuple[Observed, dict[str, float]]:
    """Probes until the time is up; what the load was, and what it cost."""
    await consumer.until_logged("partitions_assigned")
    seconds, dice, observed = harness.scaled(SECONDS, minimum=10), Random(run), Observed()
    async with connected_probe(harness, database, topics) as probe:
        await until(_is_current(database), "the readings are current", timeout=START_SECONDS, every=1)
        wal, (batches, records) = await database.value(WAL_BYTES), await _written(consumer)
        cpu, started = CpuTime.now(harness.stack, [consumer.process]), time.monotonic()
        while (elapsed := time.monotonic() - started) < seconds:
            observed.moments.append(elapsed)
            observed.latencies.append(await probe.seconds_until_stored())
            observed.peak_memory = max(observed.peak_memory, consumer.process.memory_info().rss)
            if simulator.poll() is not None or consumer.process.poll() is not None:
                raise RuntimeError(f"a process has ended:\n{end_of(consumer.log)}")
            await asyncio.sleep(dice.uniform(0, MAX_PAUSE_SECONDS))
        cores = CpuTime.now(harness.stack, [consumer.process]).cores(cpu, elapsed)
        batches_after, records_after = await _written(consumer)
        wal_after = await database.value(WAL_BYTES)
    observed.delays = [row["delay"] for row in await database.fetch(DELAYS, PROBE)]
    return observed, cores | {
        "cpu_cores": round(sum(cores.values()), 4),
        "records_per_second": round((records_after - records) / elapsed, 1),
        "transactions_per_second": round((batches_after - batches) / elapsed, 2),
        "wal_bytes_per_record": round(float(wal_after - wal) / max(records_after - records, 1), 1),
    }


def _is_current(database: Database) -> Callable[[], Awaitable[bool]]:
    """Whether the newest reading of the fleet has just been recorded: the simulator of a large fleet begins with a delay."""

    async def is_current() -> bool:
        return bool(await database.value(IS_CURRENT, PROBE))

    return is_current


async def _written(consumer: ConsumerProcess) -> tuple[float, float]:
    """Batches and records that the consumer has written so far."""
    return await consumer.metric("energy_batch_records_count"), await consumer.metric("energy_batch_records_sum")
