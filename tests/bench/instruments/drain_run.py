"""Our consumers draining a backlog: start -> record the committed totals over time -> CPU time -> check the ledger."""

import asyncio
import time
from bisect import bisect_left
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import asyncpg

from deploy.stack.processes import Processes, end_of
from tests.bench.instruments.cpu_time import CpuTime
from tests.bench.setup.backlog import Backlog
from tests.bench.setup.harness import Harness
from tests.support.database import Database
from tests.support.ledger import ledger
from tests.support.services import ConsumerGroup, ConsumerProcess, service_environment

POLL_SECONDS: Final = 0.02
RECORDS_CONSUMED: Final = "SELECT coalesce(sum(records_consumed), 0)::bigint FROM kafka_offsets"
LEDGER_TOTALS: Final = """
SELECT sum(records_written)::bigint AS written, sum(records_duplicate)::bigint AS duplicates,
    sum(records_dead_lettered)::bigint AS dead_lettered
FROM kafka_offsets"""
WAL_BYTES: Final = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint"
# Runs beside a drain until the event is set.
BackgroundWork = Callable[[asyncio.Event], Coroutine[Any, Any, None]]


@dataclass(slots=True)
class Timeline:
    """Committed records over time, with the resident memory of the largest consumer at each point."""

    times: list[float] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    resident_bytes: list[int] = field(default_factory=list)

    def add(self, consumed: int, resident_bytes: int) -> None:
        self.times.append(time.time())
        self.counts.append(consumed)
        self.resident_bytes.append(resident_bytes)

    def peak_memory_mib(self, start: float, end: float) -> float:
        """MiB of the largest consumer while the number of committed records was between `start` and `end`."""
        points = zip(self.counts, self.resident_bytes, strict=True)
        return round(max(resident for count, resident in points if start <= count <= end) / 2**20, 1)

    def time_at(self, consumed: float) -> float:
        """The moment at which `consumed` records were committed, interpolated between two commits."""
        after = bisect_left(self.counts, consumed)
        if after == 0:
            return self.times[0]
        before = bisect_left(self.counts, self.counts[after - 1])
        share = (consumed - self.counts[before]) / (self.counts[after] - self.counts[before])
        return self.times[before] + share * (self.times[after] - self.times[before])

    def consumed_at(self, moment: float) -> int:
        """Records committed before `moment`."""
        position = bisect_left(self.times, moment)
        return self.counts[position - 1] if position else 0


@dataclass(frozen=True, slots=True)
class DrainRun:
    """One run. `rate` is records a second from `start`, when every consumer had its partitions, to the last commit."""

    rate: float
    seconds: float
    cpu: dict[str, float]
    timeline: Timeline
    start: float


def drain_backlog(
    harness: Harness,
    backlog: Backlog,
    database: Database,
    *,
    consumers: int = 1,
    holds_readings: bool = False,
    background: BackgroundWork | None = None,
    settings: Mapping[str, str] | None = None,
) -> DrainRun:
    """Drain a backlog into a database with a new consumer group.

    Args:
        harness: for the servers and a directory.
        backlog: all of it is consumed.
        database: migrated.
        consumers: size of the group.
        holds_readings: the database had readings before, so that its rows cannot be compared with the ledger.
        background: started when every consumer has its partitions.
        settings: further environment variables of the consumers.

    Raises:
        RuntimeError: a consumer ended, or the ledger does not account for exactly this backlog.
    """
    directory = harness.new_directory("drain")
    environment = service_environment(harness.stack, database, backlog.topics)
    environment |= settings or {}
    environment["KAFKA_GROUP_ID"] = f"bench-{directory.name}-{database.name}"
    with Processes() as processes:
        group = ConsumerGroup(processes, environment, directory)
        run = asyncio.run(_drain(harness, backlog, database, group, consumers, background))
    asyncio.run(_check_ledger(backlog, database, holds_readings=holds_readings))
    return run


async def _drain(
    harness: Harness,
    backlog: Backlog,
    database: Database,
    group: ConsumerGroup,
    consumers: int,
    background: BackgroundWork | None,
) -> DrainRun:
    running = [group.start() for _ in range(consumers)]
    processes = [consumer.process for consumer in running]
    timeline = Timeline()
    recording = asyncio.create_task(_record(timeline, backlog.records, database, running))
    start = max([await _partitions_assigned_at(consumer) for consumer in running])
    cpu_before = CpuTime.now(harness.stack, processes)
    consumed_before = timeline.counts[-1] if timeline.counts else 0
    if consumed_before > backlog.records / 2:
        raise RuntimeError(
            "most records were drained before every consumer had its partitions: produce a larger backlog"
        )
    drained = asyncio.Event()
    background_task = asyncio.create_task(background(drained)) if background else None
    await recording
    cpu_after = CpuTime.now(harness.stack, processes)
    drained.set()
    if background_task:
        await background_task
    seconds = timeline.times[-1] - start
    rate = (backlog.records - timeline.consumed_at(start)) / seconds
    cpu = cpu_after.per_record(cpu_before, backlog.records - consumed_before)
    return DrainRun(rate, seconds, cpu, timeline, start)


async def _partitions_assigned_at(consumer: ConsumerProcess) -> float:
    return datetime.fromisoformat((await consumer.until_logged("partitions_assigned"))["timestamp"]).timestamp()


async def _record(timeline: Timeline, records: int, database: Database, running: list[ConsumerProcess]) -> None:
    connection = await asyncpg.connect(database.migrator_url)
    try:
        while not timeline.counts or timeline.counts[-1] < records:
            consumed = await connection.fetchval(RECORDS_CONSUMED)
            for consumer in running:
                if consumer.process.poll() is not None:
                    raise RuntimeError(f"a consumer has ended: {end_of(consumer.log)}")
            timeline.add(consumed, max(consumer.process.memory_info().rss for consumer in running))
            await asyncio.sleep(POLL_SECONDS)
    finally:
        await connection.close()


async def _check_ledger(backlog: Backlog, database: Database, *, holds_readings: bool) -> None:
    """Compare the totals of the ledger with the backlog, and the ledger with the stored rows."""
    found = dict((await database.fetch(LEDGER_TOTALS))[0])
    expected = {"written": backlog.readings, "duplicates": backlog.duplicates, "dead_lettered": backlog.malformed}
    if found != expected:
        raise RuntimeError(f"the ledger holds {found}, the backlog was {expected}")
    if not holds_readings:
        await ledger(database, backlog.topics)
