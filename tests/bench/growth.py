"""What changes as it grows or goes wrong: rows in place, partitions, repeated, late, malformed records. Beside a clean run."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from random import Random
from statistics import quantiles
from typing import Final

import asyncpg

from deploy.simulator.anomalies import AnomalyShares
from sql.connection import READER_SETTINGS
from sql.queries import queries
from tests.bench import engine
from tests.bench.backlog import MINUTE, Backlog, fill
from tests.bench.ground import Ground, Result, with_medians
from tests.bench.stored import MINUTES, stored_day, this_minute
from tests.support.database import Database

BACKLOG_MINUTES: Final = 50  # 1 million records
# After a checkpoint, and in a database that was just copied, the first touch of an index page reads it and writes it to the WAL
# whole: with rows in place the first million pays for the pages of all devices. So these drain twice as much, and the
# second half is the rate; the first is told beside it.
LONG_BACKLOG_MINUTES: Final = 100
ASKED: Final = 1_000
APART_MINUTES: Final = 5  # the last devices of the day in place report up to three minutes after it
VEHICLES: Final = {"10m": 3_473, "28m8": 10_000}  # with a day of readings, and so many meters' as well
WITHIN_THE_DAY: Final = 3_473  # vehicles whose readings all lie within the day that is asked for
PARTITIONS: Final = (1, 4, 16)
SHARES: Final = {
    "duplicates_1pc": AnomalyShares(duplicate=0.01),
    "duplicates_10pc": AnomalyShares(duplicate=0.1),
    "late_5pc": AnomalyShares(late=0.05),
    "malformed_1pc": AnomalyShares(malformed=0.01),
}


def measure(ground: Ground) -> Iterator[Result]:
    """Rates of drain, `ratio` to the clean run before it; p99 of the 24-hour query, `ratio` to that with the fewest rows."""
    minutes, long_minutes = ground.scaled(BACKLOG_MINUTES, least=2), ground.scaled(LONG_BACKLOG_MINUTES, least=4)
    with ExitStack() as exits:
        end = this_minute() - (long_minutes + APART_MINUTES) * MINUTE  # what is drained is newer than what is in place
        days = {
            name: exits.enter_context(stored_day(ground, ground.scaled(vehicles, least=100), end))
            for name, vehicles in VEHICLES.items()
        }
        clean, long = fill(ground, minutes), fill(ground, long_minutes)
        others = {f"partitions_{number}": fill(ground, minutes, partitions=number) for number in PARTITIONS}
        others |= {name: fill(ground, minutes, shares=shares) for name, shares in SHARES.items()}
        yield from with_medians(
            result
            for run in range(1, ground.runs + 1)
            for result in (
                *_drains(ground, clean, others, run),
                *_drains_into_rows(ground, long, days, run),
                *_queries(ground, days, end, run),
            )
        )


def _drains(ground: Ground, clean: Backlog, others: dict[str, Backlog], run: int) -> Iterator[Result]:
    base = _drain(ground, clean)
    yield _result(ground, "growth_clean", base, base, run)
    for name, backlog in others.items():
        yield _result(ground, f"growth_{name}", _drain(ground, backlog), base, run)


def _drains_into_rows(ground: Ground, long: Backlog, days: dict[str, Database], run: int) -> Iterator[Result]:
    empty = _halves(_drain(ground, long), long)
    for name, day in days.items():
        with ground.copy_of(day) as database:
            first, second = _halves(engine.drain(ground, long, database, stored=True), long)
        ratios = [round(rate / base, 4) for rate, base in zip((first, second), empty, strict=True)]
        ground.say(f"growth_rows_{name}, run {run}: {ratios[0]} of an empty database at first, then {ratios[1]}")
        yield Result(
            measure=f"growth_rows_{name}",
            value=round(second),
            unit="records/s",
            ratio=ratios[1],
            run=run,
            details={"first_half_records_per_second": round(first), "first_half_ratio": ratios[0]},
        )


def _halves(drained: engine.Drained, backlog: Backlog) -> tuple[float, float]:
    """Records a second in the first half of a drain, and in the second."""
    half = backlog.records / 2
    middle = drained.watch.when(half)
    return half / (middle - drained.began), half / (drained.watch.when(backlog.records) - middle)


def _drain(ground: Ground, backlog: Backlog) -> engine.Drained:
    with ground.database() as database:
        return engine.drain(ground, backlog, database)


def _result(ground: Ground, measure: str, drained: engine.Drained, base: engine.Drained, run: int) -> Result:
    ratio = round(drained.rate / base.rate, 4)
    ground.say(f"{measure}, run {run}: {drained.rate:,.0f} records/s, {ratio} of the clean run")
    return Result(
        measure=measure, value=round(drained.rate), unit="records/s", ratio=ratio, run=run, details=dict(drained.cpu)
    )


def _queries(ground: Ground, days: dict[str, Database], end: datetime, run: int) -> Iterator[Result]:
    fewest: float | None = None
    with ground.database() as empty:
        for name, database in {"0": empty, **days}.items():
            known = ground.scaled(VEHICLES.get(name, 10_000), least=100)
            points = MINUTES if name in VEHICLES else 0
            p50, p99 = asyncio.run(_ask(database, known, end, points, Random(run)))
            fewest = fewest or p99
            ground.say(f"24-hour query with {name} rows, run {run}: p50 {p50:.2f} ms, p99 {p99:.2f} ms")
            yield Result(
                measure=f"growth_query_{name}_p99",
                value=round(p99, 3),
                unit="ms",
                ratio=round(p99 / fewest, 3),
                run=run,
                details={"p50_ms": round(p50, 3)},
            )


async def _ask(database: Database, known: int, end: datetime, points: int, dice: Random) -> tuple[float, float]:
    connection = await asyncpg.connect(database.reader_url, server_settings=READER_SETTINGS)
    taken = []
    try:
        for _ in range(ASKED):
            vehicle = f"VEH-{dice.randint(1, min(known, WITHIN_THE_DAY))}"
            began = time.perf_counter()
            rows = [
                row
                async for row in queries.energy_of(
                    connection, vehicle_ids=[vehicle], opens=[end - timedelta(hours=24)], closes=[end]
                )
            ]
            taken.append((time.perf_counter() - began) * 1000)
            if [row["dc_points"] for row in rows] != [points]:
                raise RuntimeError(f"the answer for {vehicle} is wrong: {rows}")
    finally:
        await connection.close()
    cut = quantiles(taken, n=100, method="inclusive")
    return cut[49], cut[98]
