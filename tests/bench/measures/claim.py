"""Time of the claim in a batch of four partitions: without an old snapshot, and after many batches under one."""

import asyncio
import time
from collections.abc import Iterator
from statistics import median
from typing import Any, Final

import asyncpg

from sql.connection import WRITER_SETTINGS
from sql.queries import queries
from tests.bench.instruments.results import Result, with_medians
from tests.bench.setup.harness import Harness
from tests.support.database import Database

BATCHES: Final = 10_000
SAMPLE: Final = 500  # batches at the end, of whose claims the median is reported
PARTITIONS: Final = range(4)
GROUP: Final = "bench"


def measure(harness: Harness) -> Iterator[Result]:
    """Median of the last claims in milliseconds; `ratio` is to the claims without an old snapshot."""
    yield from with_medians(_runs(harness))


def _runs(harness: Harness) -> Iterator[Result]:
    batches = harness.scaled(BATCHES, minimum=SAMPLE)
    for run in range(1, harness.runs + 1):
        with harness.empty_database() as database:
            without, under = asyncio.run(_measure(database, batches))
        yield Result(measure="claim", value=round(without, 3), unit="ms", run=run)
        yield Result(
            measure=f"claim_after_{batches}_batches_under_a_snapshot",
            value=round(under, 3),
            unit="ms",
            ratio=round(under / without, 2),
            run=run,
        )


async def _measure(database: Database, batches: int) -> tuple[float, float]:
    writer = await asyncpg.connect(database.writer_url, server_settings=WRITER_SETTINGS)
    reader = await asyncpg.connect(database.reader_url)
    try:
        await queries.insert_missing_offsets(writer, consumer_group=GROUP, **_columns(), offsets=[0] * len(PARTITIONS))
        without = await _claim(writer, 0, SAMPLE)
        async with reader.transaction(isolation="repeatable_read"):
            await reader.fetch("SELECT FROM kafka_offsets")
            return without, await _claim(writer, SAMPLE, batches)
    finally:
        await writer.close()
        await reader.close()


def _columns() -> dict[str, list[Any]]:
    return {"topics": ["meter-readings"] * len(PARTITIONS), "partitions": list(PARTITIONS)}


async def _claim(writer: Any, offset: int, batches: int) -> float:
    """Claims one record of each partition in each batch; the median time of the last claims, in milliseconds."""
    took = []
    for expected in range(offset, offset + batches):
        async with writer.transaction():
            began = time.perf_counter()
            claimed = queries.claim(
                writer,
                consumer_group=GROUP,
                **_columns(),
                expected_offsets=[expected] * len(PARTITIONS),
                next_offsets=[expected + 1] * len(PARTITIONS),
                end_offsets=[expected + 1] * len(PARTITIONS),
                consumed=[1] * len(PARTITIONS),
                dead_lettered=[0] * len(PARTITIONS),
                last_offsets=[expected] * len(PARTITIONS),
                last_hashes=[b"12345678"] * len(PARTITIONS),
            )
            assert len([row async for row in claimed]) == len(PARTITIONS)
            took.append(time.perf_counter() - began)
    return median(took[-SAMPLE:]) * 1000
