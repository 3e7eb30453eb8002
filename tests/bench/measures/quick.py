"""The bare loop and our consumer in less than a minute: a ratio that can be recorded for every change."""

from collections.abc import Iterator
from typing import Final

from tests.bench.instruments.results import Result, with_medians
from tests.bench.measures.limit import ratio_result, run_bare_loop_and_ours
from tests.bench.setup.backlog import produce_backlog
from tests.bench.setup.harness import Harness

MINUTES: Final = 20  # 400,000 records of 20,000 devices
MAX_RUNS: Final = 5


def measure(harness: Harness) -> Iterator[Result]:
    """Rate of the bare loop, rate of our consumer, and the ratio of the two."""
    backlog = produce_backlog(harness, harness.scaled(MINUTES, minimum=2))
    yield from with_medians(
        result
        for run in range(1, min(harness.runs, MAX_RUNS) + 1)
        for bare, ours in (run_bare_loop_and_ours(harness, backlog, run),)
        for result in (bare, ours, ratio_result("drain_to_bare_loop", ours, bare.value, run))
    )
