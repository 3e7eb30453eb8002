"""Drain and the bare loop, in less than a minute: a ratio that can be recorded for every change."""

from collections.abc import Iterator
from typing import Final

from tests.bench.measures.limit import bare_and_ours, compared
from tests.bench.setup.backlog import fill
from tests.bench.setup.harness import Ground, Result, with_medians

MINUTES: Final = 20  # 400,000 records of 20,000 devices
RUNS: Final = 5


def measure(ground: Ground) -> Iterator[Result]:
    """Our rate, that of the bare loop, and the ratio of the two."""
    backlog = fill(ground, ground.scaled(MINUTES, least=2))
    yield from with_medians(
        result
        for run in range(1, min(ground.runs, RUNS) + 1)
        for bare, ours in (bare_and_ours(ground, backlog, run),)
        for result in (bare, ours, compared("drain_to_bare_loop", ours, bare.value, run))
    )
