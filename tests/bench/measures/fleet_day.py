"""A whole day of the fleet as a backlog: 28.8 million readings in the order of time, drained from Kafka into empty tables."""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg

from sql.maintenance.reindexing import reindex_primary_keys
from sql.settings import MaintainSettings
from tests.bench.instruments.drain_run import DrainRun, Timeline, drain_backlog
from tests.bench.instruments.results import Result, with_medians
from tests.bench.setup.backlog import Backlog, produce_backlog
from tests.bench.setup.harness import Harness
from tests.support.database import Database

MINUTES: Final = 1440
# Maintenance looks for indexes to rebuild once an hour; the day passes in some 100 s, and an hour of it in some 4 s.
REINDEX_EVERY_SECONDS: Final = 4.0
SIZES: Final = """
SELECT sum(pg_table_size(relid))::bigint AS tables, sum(pg_indexes_size(relid))::bigint AS indexes
FROM unnest(ARRAY['meter_telemetry_history', 'vehicle_telemetry_history']::regclass[]) AS history,
    pg_partition_tree(history)"""
WAL_BYTES: Final = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')"


@dataclass(frozen=True, slots=True)
class _Plain:
    """The day without maintenance. Sizes are bytes: as written, and after the indexes of the finished month were rebuilt."""

    drained: DrainRun
    written: dict[str, int]
    reindexed: dict[str, int]
    reindex_seconds: float


@dataclass(frozen=True, slots=True)
class _Maintained:
    """The day with maintenance running, which rebuilds the indexes of the month while they grow."""

    drained: DrainRun
    sizes: dict[str, int]
    reindexed_count: int


def measure(harness: Harness) -> Iterator[Result]:
    """Time to drain the day, rates of its first and last tenth, and bytes on disk a reading; without and with maintenance."""
    backlog = produce_backlog(harness, harness.scaled(MINUTES, minimum=10))
    yield from with_medians(result for run in range(1, harness.runs + 1) for result in _run(harness, backlog, run))


def _run(harness: Harness, backlog: Backlog, run: int) -> Iterator[Result]:
    """One run of each; the order alternates with the number of the run."""
    if run % 2:
        plain = _drain_plain(harness, backlog)
        maintained = _drain_maintained(harness, backlog)
    else:
        maintained = _drain_maintained(harness, backlog)
        plain = _drain_plain(harness, backlog)
    yield from _rates(harness, plain, maintained, backlog.readings, run)
    yield from _disk(plain, maintained, backlog.readings, run)


def _drain_plain(harness: Harness, backlog: Backlog) -> _Plain:
    with harness.empty_database() as database:
        wal_before = asyncio.run(database.value(WAL_BYTES))
        drained = drain_backlog(harness, backlog, database)
        written = _sizes(database, wal_before)
        started = time.monotonic()
        asyncio.run(_reindex(database, datetime.now(UTC) + timedelta(days=40)))
        return _Plain(drained, written, _sizes(database), time.monotonic() - started)


def _drain_maintained(harness: Harness, backlog: Backlog) -> _Maintained:
    with harness.empty_database() as database:
        wal_before = asyncio.run(database.value(WAL_BYTES))
        maintenance = _Maintenance(database)
        drained = drain_backlog(harness, backlog, database, background=maintenance.run_until)
        return _Maintained(drained, _sizes(database, wal_before), maintenance.reindexed_count)


def _sizes(database: Database, wal_before: Any = None) -> dict[str, int]:
    sizes = dict(asyncio.run(database.fetch(SIZES))[0])
    return sizes if wal_before is None else sizes | {"wal": int(asyncio.run(database.value(WAL_BYTES)) - wal_before)}


async def _reindex(database: Database, now: datetime) -> int:
    connection = await asyncpg.connect(database.migrator_url)
    try:
        return len(await reindex_primary_keys(connection, now, max_bytes=MaintainSettings().pack_open_key_gib * 2**30))
    finally:
        await connection.close()


@dataclass(slots=True)
class _Maintenance:
    """Rebuilds the indexes that are due, at intervals; a rebuild that has begun is finished."""

    database: Database
    reindexed_count: int = 0

    async def run_until(self, drained: asyncio.Event) -> None:
        while not drained.is_set():
            self.reindexed_count += await _reindex(self.database, datetime.now(UTC))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(drained.wait(), REINDEX_EVERY_SECONDS)


def _rates(harness: Harness, plain: _Plain, maintained: _Maintained, readings: int, run: int) -> Iterator[Result]:
    drained, timeline = plain.drained, plain.drained.timeline
    first, last = (_rate_between(timeline, readings, *shares) for shares in ((0.0, 0.1), (0.9, 1.0)))
    harness.log_progress(
        f"fleet-day, run {run}: {drained.seconds:.0f} s, {first:,.0f} records/s in the first tenth, {last:,.0f} in the last"
    )
    memory = {
        "replica_rss_first_tenth_mib": timeline.peak_memory_mib(0, readings / 10),
        "replica_rss_last_tenth_mib": timeline.peak_memory_mib(readings * 0.9, readings),
        "replica_rss_mib": timeline.peak_memory_mib(0, readings),
    }
    yield Result(
        measure="fleet_day",
        value=round(drained.seconds, 2),
        unit="s",
        run=run,
        details={"records": readings, "records_per_second": round(drained.rate)} | memory | drained.cpu,
    )
    yield Result(
        measure="fleet_day_last_tenth",
        value=round(last),
        unit="records/s",
        ratio=round(last / first, 4),
        run=run,
        details={"first_tenth_records_per_second": round(first)},
    )
    harness.log_progress(f"fleet-day, run {run}, with maintenance: {maintained.drained.seconds:.0f} s")
    yield Result(
        measure="fleet_day_kept",
        value=round(maintained.drained.seconds, 2),
        unit="s",
        ratio=round(maintained.drained.rate / drained.rate, 4),
        run=run,
        details={"records_per_second": round(maintained.drained.rate), "keys_packed": maintained.reindexed_count}
        | maintained.drained.cpu,
    )


def _disk(plain: _Plain, maintained: _Maintained, readings: int, run: int) -> Iterator[Result]:
    for measure, sizes, more in (
        ("fleet_day_disk", plain.written, {}),
        ("fleet_day_kept_disk", maintained.sizes, {}),
        ("fleet_day_disk_packed", plain.reindexed, {"seconds": round(plain.reindex_seconds, 1)}),
    ):
        yield Result(
            measure=measure,
            value=round((sizes["tables"] + sizes["indexes"]) / readings, 2),
            unit="bytes/reading",
            run=run,
            details={f"{name}_bytes_per_reading": round(size / readings, 2) for name, size in sizes.items()} | more,
        )


def _rate_between(timeline: Timeline, records: int, start_share: float, end_share: float) -> float:
    """Records a second between two shares (0 to 1) of the records."""
    start, end = start_share * records, end_share * records
    return (end - start) / (timeline.time_at(end) - timeline.time_at(start))
