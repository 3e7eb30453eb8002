"""A whole day of the fleet as a backlog: 28.8 million readings in the order of time, through Kafka into empty tables."""

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
from tests.bench import engine
from tests.bench.backlog import Backlog, fill
from tests.bench.ground import Ground, Result, with_medians
from tests.support.database import Database

MINUTES: Final = 1440
PACK_EVERY_SECONDS: Final = (
    4.0  # the day passes in some 100 s: more often than once an hour of it, as housekeeping does
)
SIZES: Final = """
SELECT sum(pg_table_size(relid))::bigint AS tables, sum(pg_indexes_size(relid))::bigint AS indexes
FROM unnest(ARRAY['meter_telemetry_history', 'vehicle_telemetry_history']::regclass[]) AS history,
    pg_partition_tree(history)"""
WAL: Final = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')"


@dataclass(frozen=True, slots=True)
class _Day:
    """The day by itself. Sizes are bytes: as it was written, and once its month is over and was packed as a whole."""

    drained: engine.Drained
    written: dict[str, int]
    packed: dict[str, int]
    packing_seconds: float


@dataclass(frozen=True, slots=True)
class _Kept:
    """The day with housekeeping beside it, which packs the month that is written as it grows."""

    drained: engine.Drained
    sizes: dict[str, int]
    keys_packed: int


def measure(ground: Ground) -> Iterator[Result]:
    """Time to drain it, the rate of its first and last tenth, and what a reading takes on the disk."""
    backlog = fill(ground, ground.scaled(MINUTES, least=10))
    yield from with_medians(
        result
        for run in range(1, ground.runs + 1)
        for result in _results(ground, *_both(ground, backlog, run), backlog.readings, run)
    )


def _both(ground: Ground, backlog: Backlog, run: int) -> tuple[_Day, _Kept]:
    if run % 2:
        return _by_itself(ground, backlog), _with_housekeeping(ground, backlog)
    kept = _with_housekeeping(ground, backlog)
    return _by_itself(ground, backlog), kept


def _by_itself(ground: Ground, backlog: Backlog) -> _Day:
    with ground.database() as database:
        before = asyncio.run(database.value(WAL))
        drained = engine.drain(ground, backlog, database)
        written = _sizes(database, before)
        began = time.monotonic()
        asyncio.run(_pack(database, datetime.now(UTC) + timedelta(days=40)))
        return _Day(drained, written, _sizes(database), time.monotonic() - began)


def _with_housekeeping(ground: Ground, backlog: Backlog) -> _Kept:
    with ground.database() as database:
        before = asyncio.run(database.value(WAL))
        housekeeping = _Housekeeping(database)
        drained = engine.drain(ground, backlog, database, beside=housekeeping.until)
        return _Kept(drained, _sizes(database, before), housekeeping.packed)


def _sizes(database: Database, wal_before: Any = None) -> dict[str, int]:
    sizes = dict(asyncio.run(database.fetch(SIZES))[0])
    return sizes if wal_before is None else sizes | {"wal": int(asyncio.run(database.value(WAL)) - wal_before)}


async def _pack(database: Database, now: datetime) -> int:
    connection = await asyncpg.connect(database.migrator_url)
    try:
        return len(await reindex_primary_keys(connection, now, max_bytes=MaintainSettings().pack_open_key_gib * 2**30))
    finally:
        await connection.close()


@dataclass(slots=True)
class _Housekeeping:
    """Packs what is due, again and again; what is under way at the end of the day is finished."""

    database: Database
    packed: int = 0

    async def until(self, over: asyncio.Event) -> None:
        while not over.is_set():
            self.packed += await _pack(self.database, datetime.now(UTC))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), PACK_EVERY_SECONDS)


def _results(ground: Ground, day: _Day, kept: _Kept, readings: int, run: int) -> Iterator[Result]:
    drained = day.drained
    first, last = (_rate(drained.watch, readings, share) for share in ((0.0, 0.1), (0.9, 1.0)))
    ground.say(f"fleet-day, run {run}: {drained.seconds:.0f} s, {first:,.0f} records/s at first, {last:,.0f} at last")
    yield Result(
        measure="fleet_day",
        value=round(drained.seconds, 2),
        unit="s",
        run=run,
        details={
            "records": readings,
            "records_per_second": round(drained.rate),
            "replica_rss_first_tenth_mib": drained.watch.largest(0, readings / 10),
            "replica_rss_last_tenth_mib": drained.watch.largest(readings * 0.9, readings),
            "replica_rss_mib": drained.watch.largest(0, readings),
        }
        | drained.cpu,
    )
    yield Result(
        measure="fleet_day_last_tenth",
        value=round(last),
        unit="records/s",
        ratio=round(last / first, 4),
        run=run,
        details={"first_tenth_records_per_second": round(first)},
    )
    ground.say(f"fleet-day, run {run}, with housekeeping beside it: {kept.drained.seconds:.0f} s")
    yield Result(
        measure="fleet_day_kept",
        value=round(kept.drained.seconds, 2),
        unit="s",
        ratio=round(kept.drained.rate / drained.rate, 4),
        run=run,
        details={"records_per_second": round(kept.drained.rate), "keys_packed": kept.keys_packed} | kept.drained.cpu,
    )
    for measure, sizes, more in (
        ("fleet_day_disk", day.written, {}),
        ("fleet_day_kept_disk", kept.sizes, {}),
        ("fleet_day_disk_packed", day.packed, {"seconds": round(day.packing_seconds, 1)}),
    ):
        yield Result(
            measure=measure,
            value=round((sizes["tables"] + sizes["indexes"]) / readings, 2),
            unit="bytes/reading",
            run=run,
            details={f"{name}_bytes_per_reading": round(size / readings, 2) for name, size in sizes.items()} | more,
        )


def _rate(watch: engine.Watch, records: int, share: tuple[float, float]) -> float:
    opens, closes = share[0] * records, share[1] * records
    return (closes - opens) / (watch.when(closes) - watch.when(opens))
