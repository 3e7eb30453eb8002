"""How fast a backlog drains: records are in Kafka before the consumer starts, and leave into tables that are empty."""

from collections.abc import Iterator
from typing import Final

from tests.bench.instruments import drain_run as engine
from tests.bench.setup.backlog import Backlog, fill
from tests.bench.setup.harness import Ground, Result, with_medians

MINUTES: Final = (
    100  # 2 million records of 20,000 devices; with fewer, one replica is done before the other has its partitions
)


def measure(ground: Ground) -> Iterator[Result]:
    """Records a second and CPU a record, by one replica and by two, in turn."""
    backlog = fill(ground, MINUTES)
    yield from with_medians(result for run in range(1, ground.runs + 1) for result in both(ground, backlog, run))


def both(ground: Ground, backlog: Backlog, run: int) -> tuple[Result, Result]:
    """By one replica, then by two."""
    one = drained(ground, backlog, run)
    two = drained(ground, backlog, run, replicas=2)
    return one, Result(
        measure="drain_2_replicas",
        value=two.value,
        unit=two.unit,
        ratio=round(two.value / one.value, 4),
        run=run,
        details=two.details,
    )


def drained(ground: Ground, backlog: Backlog, run: int, *, replicas: int = 1) -> Result:
    """One run of our own consumer into an empty database."""
    with ground.database() as database:
        run_of_ours = engine.drain(ground, backlog, database, replicas=replicas)
    ground.say(f"drain by {replicas}, run {run}: {run_of_ours.rate:,.0f} records/s")
    return Result(
        measure="drain",
        value=round(run_of_ours.rate),
        unit="records/s",
        run=run,
        details=run_of_ours.cpu | {"replica_rss_mib": run_of_ours.watch.largest(0, backlog.records)},
    )
