"""Folding of a day while the fleet sends: CPU time of the session that folds, and freshness meanwhile and before."""

import asyncio
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from math import inf
from random import Random
from typing import Any, Final

import psutil

from deploy.stack.processes import Processes
from sql.maintenance.folding import fold_days
from tests.bench.instruments.freshness import MAX_PAUSE_SECONDS, Probe, connected_probe
from tests.bench.instruments.results import Result, percentiles, with_medians
from tests.bench.setup.backlog import new_topics
from tests.bench.setup.harness import Harness
from tests.bench.setup.simulated_fleet import start_simulator
from tests.bench.setup.stored_day import DAY
from tests.bench.setup.time_lapse import Days, maintenance_session
from tests.support.database import Database
from tests.support.ledger import Topics
from tests.support.services import ConsumerGroup, service_environment

FULL_DAY: Final = 28_800_000  # readings of 20,000 devices
SECONDS_BEFORE: Final = 300  # of freshness without folding


def measure_folding(harness: Harness, database: Database, days: Days) -> Iterator[Result]:
    """Fold the oldest day that is left as rows in each run."""
    topics, directory = new_topics(harness), harness.new_directory("folding")
    with Processes() as processes:
        environment = service_environment(harness.stack, database, topics)
        group = ConsumerGroup(processes, environment, directory)
        consumer = group.start()
        start_simulator(processes, environment, group, days.vehicles)
        asyncio.run(consumer.until_logged("partitions_assigned"))
        yield from with_medians(
            asyncio.run(_run(harness, database, topics, days, run))
            for run in range(1, min(harness.runs, days.days_as_rows) + 1)
        )


async def _run(harness: Harness, database: Database, topics: Topics, days: Days, run: int) -> Result:
    instant = days.closes - (days.days_as_rows - run) * DAY
    dice, deadline = Random(run), time.monotonic() + harness.scaled(SECONDS_BEFORE, minimum=6)
    async with connected_probe(harness, database, topics) as probe, maintenance_session(database) as connection:
        before = await _latencies(probe, dice, lambda: time.monotonic() < deadline)
        cpu, started = await _cpu_seconds(harness, connection), time.monotonic()
        folding = asyncio.create_task(fold_days(connection, instant, after=timedelta(), seconds=inf))
        meanwhile = await _latencies(probe, dice, lambda: not folding.done())
        await folding
        seconds, cpu = time.monotonic() - started, await _cpu_seconds(harness, connection) - cpu
    return _result(harness, days, run, seconds, cpu or seconds, before, meanwhile)


async def _latencies(probe: Probe, dice: Random, goes_on: Callable[[], bool]) -> list[float]:
    seconds: list[float] = []
    while goes_on() or len(seconds) < 2:
        seconds.append(await probe.seconds_until_stored())
        await asyncio.sleep(dice.uniform(0, MAX_PAUSE_SECONDS))
    return seconds


async def _cpu_seconds(harness: Harness, connection: Any) -> float:
    """Of the server process of a session; 0 where the server is not our own."""
    if harness.stack.postgres is None:
        return 0.0
    times = psutil.Process(await connection.fetchval("SELECT pg_backend_pid()")).cpu_times()
    return float(times.user + times.system)


def _result(
    harness: Harness, days: Days, run: int, seconds: float, cpu: float, before: list[float], meanwhile: list[float]
) -> Result:
    full_day = cpu * FULL_DAY / days.readings_a_day
    (p50_before, p99_before), (p50, p99) = percentiles(before), percentiles(meanwhile)
    harness.log_progress(
        f"years_folding_seconds, run {run}: {full_day:.0f} s of CPU for {FULL_DAY:,} readings; readings can be queried after "
        f"{p99:.0f} ms (p99), {p99_before:.0f} ms without folding"
    )
    return Result(
        measure="years_folding_seconds",
        value=round(full_day, 1),
        unit="s",
        ratio=round(p99 / p99_before, 4),
        run=run,
        details={
            "readings": days.readings_a_day,
            "cpu_seconds": round(cpu, 2),
            "seconds": round(seconds, 2),
            "cpu_us_per_reading": round(cpu * 1e6 / days.readings_a_day, 3),
            "freshness_p50_ms": round(p50, 1),
            "freshness_p99_ms": round(p99, 1),
            "freshness_without_p50_ms": round(p50_before, 1),
            "freshness_without_p99_ms": round(p99_before, 1),
            "probes": len(meanwhile),
            "probes_without": len(before),
        },
    )
