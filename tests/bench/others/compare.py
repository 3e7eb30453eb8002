"""The others beside our consumer: same run, servers, fleet and tables; each with as many records as it can take in time."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.bench.jars import bench_jars
from tests.bench.measures.drain import MINUTES, both
from tests.bench.others.alternative import Other, race
from tests.bench.others.kafka_connect import connect_command
from tests.bench.others.quix_environment import quix_python
from tests.bench.setup.backlog import fill
from tests.bench.setup.harness import Ground, Result, with_medians

QUIX: Final = Path(__file__).with_name("quix.py")


def measure(ground: Ground) -> Iterator[Result]:
    """Records a second of each; `ratio` is how many times as many ours take in the same run: one replica beside what is one
    process on one core, two beside what keeps two cores busy. The ratios to both stand in the details.
    """
    bench_jars(ground.say)
    python = quix_python(ground.say)
    others = (
        Other("per_record", 3, 1, lambda *_: [sys.executable, "-m", "tests.bench.others.per_record"]),
        Other("quix_streams", 20, 1, lambda *_: [python, QUIX]),
        Other("debezium_jdbc", 50, 2, connect_command),
    )
    yield from with_medians(_runs(ground, others))


def _runs(ground: Ground, others: tuple[Other, ...]) -> Iterator[Result]:
    full = fill(ground, ground.scaled(MINUTES, least=2))
    backlogs = {other.name: fill(ground, ground.scaled(other.minutes, least=2)) for other in others}
    for run in range(1, ground.runs + 1):
        ours = both(ground, full, run)
        yield from ours
        for other in others if run % 2 else reversed(others):
            raced = race(ground, backlogs[other.name], other)
            ground.say(f"{other.name}, run {run}: {raced.rate:,.0f} records/s")
            one, two = (round(each.value / raced.rate, 3) for each in ours)
            yield Result(
                measure=f"others_{other.name}",
                value=round(raced.rate),
                unit="records/s",
                ratio=(one, two)[other.beside - 1],
                run=run,
                details=raced.cpu
                | {"records": backlogs[other.name].records, "one_replica_ratio": one, "two_replicas_ratio": two},
            )
