"""Drains of 20,000 to 1,000,000 devices -> steady load of both -> maintenance and queries of a fleet of 1,000,000."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from tests.bench.instruments.results import Result, with_medians
from tests.bench.measures.devices.drains import measure_drains
from tests.bench.measures.devices.million import measure_maintenance, measure_queries
from tests.bench.measures.steady import run_steadily
from tests.bench.setup.harness import Harness
from tests.bench.setup.large_fleet import large_fleet

MOST_RUNS: Final = 3
STEADY: Final = {
    "steady_freshness_p99": 10_000,
    "steady_1000000_freshness_p99": 500_000,
}  # vehicles, and as many meters
VEHICLES: Final = 500_000  # and as many meters: of maintenance and queries


def measure(harness: Harness) -> Iterator[Result]:
    """All measures of growing fleets, in at most three runs."""
    harness = replace(harness, runs=min(harness.runs, MOST_RUNS))
    yield from with_medians(measure_drains(harness))
    yield from with_medians(_steady_runs(harness))
    with large_fleet(harness, harness.scaled(VEHICLES, minimum=1_000)) as fleet:
        yield from with_medians(measure_maintenance(harness, fleet))
        yield from with_medians(measure_queries(harness, fleet))


def _steady_runs(harness: Harness) -> Iterator[Result]:
    for run in range(1, harness.runs + 1):
        for name, vehicles in STEADY.items():
            yield run_steadily(harness, run, measure=name, vehicles=vehicles)
