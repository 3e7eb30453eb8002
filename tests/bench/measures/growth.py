"""Effect of stored rows, partitions and imperfect records on the drain rate, and of stored rows on the 24-hour query.

Imperfect records are duplicates, late and malformed ones.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from random import Random
from typing import Final

import asyncpg

from deploy.simulator.anomalies import AnomalyShares
from sql.connection import READER_SETTINGS
from sql.queries import queries
from tests.bench.instruments.drain_run import DrainRun, drain_backlog
from tests.bench.instruments.results import Result, percentiles, with_medians
from tests.bench.setup.backlog import MINUTE, Backlog, produce_backlog
from tests.bench.setup.harness import Harness
from tests.bench.setup.stored_day import DAY, MINUTES, current_minute, stored_day
from tests.support.database import Database

BACKLOG_MINUTES: Final = 50  # 1 million records
# After a checkpoint, and in a database that was just copied, the first access to an index page reads it and writes it to the WAL
# as a whole. With rows in place, the first million records pay for the pages of all devices. These runs drain twice as much:
# the rate is that of the second half, and the rate of the first half is in the details.
LONG_BACKLOG_MINUTES: Final = 100
QUERIES: Final = 1_000
GAP_MINUTES: Final = (
    5  # between stored and drained readings: the last stored ones are up to three minutes after the day's end
)
VEHICLES: Final = {"10m": 3_473, "28m8": 10_000}  # vehicles with a day of stored readings, and as many meters
VEHICLES_WITHIN_THE_DAY: Final = 3_473  # all readings of these vehicles lie within the day that is queried
PARTITIONS: Final = (1, 4, 16)
SHARES: Final = {
    "duplicates_1pc": AnomalyShares(duplicate=0.01),
    "duplicates_10pc": AnomalyShares(duplicate=0.1),
    "late_5pc": AnomalyShares(late=0.05),
    "malformed_1pc": AnomalyShares(malformed=0.01),
}


def measure(harness: Harness) -> Iterator[Result]:
    """Drain rates, as a ratio to the clean run; p99 of the 24-hour query, as a ratio to that of an empty database."""
    minutes, long_minutes = harness.scaled(BACKLOG_MINUTES, minimum=2), harness.scaled(LONG_BACKLOG_MINUTES, minimum=4)
    with ExitStack() as exits:
        end = current_minute() - (long_minutes + GAP_MINUTES) * MINUTE  # drained readings are newer than stored ones
        days = {
            name: exits.enter_context(stored_day(harness, harness.scaled(vehicles, minimum=100), end))
            for name, vehicles in VEHICLES.items()
        }
        clean, long = produce_backlog(harness, minutes), produce_backlog(harness, long_minutes)
        others = {f"partitions_{number}": produce_backlog(harness, minutes, partitions=number) for number in PARTITIONS}
        others |= {name: produce_backlog(harness, minutes, shares=shares) for name, shares in SHARES.items()}
        yield from with_medians(
            result
            for run in range(1, harness.runs + 1)
            for result in (
                *_drain_into_empty_tables(harness, clean, others, run),
                *_drain_into_stored_rows(harness, long, days, run),
                *_query(harness, days, end, run),
            )
        )


def _drain_into_empty_tables(
    harness: Harness, clean: Backlog, others: dict[str, Backlog], run: int
) -> Iterator[Result]:
    base = _drain(harness, clean)
    yield _drain_result(harness, "growth_clean", base, base, run)
    for name, backlog in others.items():
        yield _drain_result(harness, f"growth_{name}", _drain(harness, backlog), base, run)


def _drain_into_stored_rows(harness: Harness, long: Backlog, days: dict[str, Database], run: int) -> Iterator[Result]:
    empty = _rates_of_halves(_drain(harness, long), long)
    for name, day in days.items():
        with harness.copy_of(day) as database:
            first, second = _rates_of_halves(drain_backlog(harness, long, database, holds_readings=True), long)
        ratios = [round(rate / base, 4) for rate, base in zip((first, second), empty, strict=True)]
        harness.log_progress(
            f"growth_rows_{name}, run {run}: {ratios[0]} of the rate into an empty database in the first half, "
            f"{ratios[1]} in the second"
        )
        yield Result(
            measure=f"growth_rows_{name}",
            value=round(second),
            unit="records/s",
            ratio=ratios[1],
            run=run,
            details={"first_half_records_per_second": round(first), "first_half_ratio": ratios[0]},
        )


def _rates_of_halves(run: DrainRun, backlog: Backlog) -> tuple[float, float]:
    """Records a second in the first and in the second half of a drain."""
    half = backlog.records / 2
    middle = run.timeline.time_at(half)
    return half / (middle - run.start), half / (run.timeline.time_at(backlog.records) - middle)


def _drain(harness: Harness, backlog: Backlog) -> DrainRun:
    with harness.empty_database() as database:
        return drain_backlog(harness, backlog, database)


def _drain_result(harness: Harness, measure: str, drained: DrainRun, base: DrainRun, run: int) -> Result:
    ratio = round(drained.rate / base.rate, 4)
    harness.log_progress(f"{measure}, run {run}: {drained.rate:,.0f} records/s, {ratio} of the clean run")
    return Result(
        measure=measure, value=round(drained.rate), unit="records/s", ratio=ratio, run=run, details=dict(drained.cpu)
    )


def _query(harness: Harness, days: dict[str, Database], end: datetime, run: int) -> Iterator[Result]:
    base: float | None = None
    with harness.empty_database() as empty:
        for name, database in {"0": empty, **days}.items():
            vehicles = harness.scaled(VEHICLES.get(name, 10_000), minimum=100)
            points = MINUTES if name in VEHICLES else 0
            p50, p99 = percentiles(asyncio.run(_query_seconds(database, vehicles, end, points, Random(run))))
            base = base or p99
            harness.log_progress(f"24-hour query with {name} rows, run {run}: p50 {p50:.2f} ms, p99 {p99:.2f} ms")
            yield Result(
                measure=f"growth_query_{name}_p99",
                value=round(p99, 3),
                unit="ms",
                ratio=round(p99 / base, 3),
                run=run,
                details={"p50_ms": round(p50, 3)},
            )


async def _query_seconds(database: Database, vehicles: int, end: datetime, points: int, dice: Random) -> list[float]:
    """Seconds of each 24-hour query; vehicles are drawn at random, and each must have `points` readings."""
    connection = await asyncpg.connect(database.reader_url, server_settings=READER_SETTINGS)
    seconds = []
    try:
        for _ in range(QUERIES):
            vehicle = f"VEH-{dice.randint(1, min(vehicles, VEHICLES_WITHIN_THE_DAY))}"
            started = time.perf_counter()
            found = queries.energy_of(connection, vehicle_ids=[vehicle], opens=[end - DAY], closes=[end])
            rows = [row async for row in found]
            seconds.append(time.perf_counter() - started)
            if [row["dc_points"] for row in rows] != [points]:
                raise RuntimeError(f"the answer for {vehicle} is wrong: {rows}")
    finally:
        await connection.close()
    return seconds
