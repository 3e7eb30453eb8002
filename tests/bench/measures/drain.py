"""Rate at which a backlog drains into empty tables; all records are in Kafka before the consumers start."""

from collections.abc import Iterator
from typing import Final

from tests.bench.instruments.drain_run import drain_backlog
from tests.bench.instruments.results import Result, with_medians
from tests.bench.setup.backlog import Backlog, produce_backlog
from tests.bench.setup.harness import Harness

# 2 million records of 20,000 devices. With fewer, one consumer is done before the other has its partitions.
MINUTES: Final = 100


def measure(harness: Harness) -> Iterator[Result]:
    """Records a second and CPU time a record of one consumer and of two, in turn."""
    backlog = produce_backlog(harness, MINUTES)
    yield from with_medians(
        result for run in range(1, harness.runs + 1) for result in drain_by_one_and_two(harness, backlog, run)
    )


def drain_by_one_and_two(harness: Harness, backlog: Backlog, run: int) -> tuple[Result, Result]:
    one = drain(harness, backlog, run)
    two = drain(harness, backlog, run, consumers=2)
    return one, Result(
        measure="drain_2_replicas",
        value=two.value,
        unit=two.unit,
        ratio=round(two.value / one.value, 4),
        run=run,
        details=two.details,
    )


def drain(harness: Harness, backlog: Backlog, run: int, *, consumers: int = 1) -> Result:
    """One run of our consumers into an empty database."""
    with harness.empty_database() as database:
        drained = drain_backlog(harness, backlog, database, consumers=consumers)
    harness.log_progress(f"drain by {consumers}, run {run}: {drained.rate:,.0f} records/s")
    return Result(
        measure="drain",
        value=round(drained.rate),
        unit="records/s",
        run=run,
        details=drained.cpu | {"replica_rss_mib": drained.timeline.peak_memory_mib(0, backlog.records)},
    )
