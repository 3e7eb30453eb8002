"""A whole day of the fleet as a backlog: 28.8 million readings in the order of time, drained from Kafka into empty tables."""

import asyncio
from collections.abc import Iterator
from typing import Any, Final

from tests.bench.instruments.drain_run import WAL_BYTES, DrainRun, Timeline, drain_backlog
from tests.bench.instruments.results import Result, with_medians
from tests.bench.setup.backlog import Backlog, produce_backlog
from tests.bench.setup.harness import Harness
from tests.support.database import Database

MINUTES: Final = 1440
SIZES: Final = """
SELECT sum(pg_table_size(relid))::bigint AS tables, sum(pg_indexes_size(relid))::bigint AS indexes
FROM unnest(ARRAY['meter_telemetry_history', 'vehicle_telemetry_history']::regclass[]) AS history,
    pg_partition_tree(history)"""


def measure(harness: Harness) -> Iterator[Result]:
    """Time to drain the day, rates of its first and last tenth, and bytes on disk a reading."""
    backlog = produce_backlog(harness, harness.scaled(MINUTES, minimum=10))
    yield from with_medians(result for run in range(1, harness.runs + 1) for result in _run(harness, backlog, run))


def _run(harness: Harness, backlog: Backlog, run: int) -> Iterator[Result]:
    with harness.empty_database() as database:
        wal_before = asyncio.run(database.value(WAL_BYTES))
        drained = drain_backlog(harness, backlog, database)
        sizes = _sizes(database, wal_before)
    yield from _rates(harness, drained, backlog.readings, run)
    yield _disk(sizes, backlog.readings, run)


def _sizes(database: Database, wal_before: Any) -> dict[str, int]:
    wal = int(asyncio.run(database.value(WAL_BYTES)) - wal_before)
    return dict(asyncio.run(database.fetch(SIZES))[0]) | {"wal": wal}


def _rates(harness: Harness, drained: DrainRun, readings: int, run: int) -> Iterator[Result]:
    timeline = drained.timeline
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


def _disk(sizes: dict[str, int], readings: int, run: int) -> Result:
    return Result(
        measure="fleet_day_disk",
        value=round((sizes["tables"] + sizes["indexes"]) / readings, 2),
        unit="bytes/reading",
        run=run,
        details={f"{name}_bytes_per_reading": round(size / readings, 2) for name, size in sizes.items()},
    )


def _rate_between(timeline: Timeline, records: int, start_share: float, end_share: float) -> float:
    """Records a second between two shares (0 to 1) of the records."""
    start, end = start_share * records, end_share * records
    return (end - start) / (timeline.time_at(end) - timeline.time_at(start))
