"""The measure `others`: alternatives beside our consumer on the same servers, fleet and tables, in the same run.

Each alternative gets as many records as it can process in a reasonable time.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.bench.instruments.results import Result, with_medians
from tests.bench.measures.drain import MINUTES, drain_by_one_and_two
from tests.bench.others.alternative import Alternative, run_alternative
from tests.bench.others.kafka_connect import connect_command, connect_jars
from tests.bench.others.quix_environment import quix_python
from tests.bench.setup.backlog import produce_backlog
from tests.bench.setup.harness import Harness

QUIX: Final = Path(__file__).with_name("quix.py")


def measure(harness: Harness) -> Iterator[Result]:
    """Records a second of each alternative.

    `ratio` is our rate divided by that of the alternative in the same run: the rate of one consumer where the alternative is one
    process on one core, of two consumers where it keeps two cores busy. Both ratios are in the details.
    """
    connect_jars(harness.log_progress)
    python = quix_python(harness.log_progress)
    alternatives = (
        Alternative("per_record", 3, 1, lambda *_: [sys.executable, "-m", "tests.bench.others.per_record"]),
        Alternative("quix_streams", 20, 1, lambda *_: [python, QUIX]),
        Alternative("debezium_jdbc", 50, 2, connect_command),
    )
    yield from with_medians(_runs(harness, alternatives))


def _runs(harness: Harness, alternatives: tuple[Alternative, ...]) -> Iterator[Result]:
    full = produce_backlog(harness, harness.scaled(MINUTES, minimum=2))
    backlogs = {each.name: produce_backlog(harness, harness.scaled(each.minutes, minimum=2)) for each in alternatives}
    for run in range(1, harness.runs + 1):
        ours = drain_by_one_and_two(harness, full, run)
        yield from ours
        for each in alternatives if run % 2 else reversed(alternatives):
            theirs = run_alternative(harness, backlogs[each.name], each)
            harness.log_progress(f"{each.name}, run {run}: {theirs.rate:,.0f} records/s")
            one, two = (round(our.value / theirs.rate, 3) for our in ours)
            yield Result(
                measure=f"others_{each.name}",
                value=round(theirs.rate),
                unit="records/s",
                ratio=(one, two)[each.compared_with - 1],
                run=run,
                details=theirs.cpu
                | {"records": backlogs[each.name].records, "one_replica_ratio": one, "two_replicas_ratio": two},
            )
