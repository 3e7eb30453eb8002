"""`python -m tests.bench`, behind `make bench`: progress on stderr, one JSON object a result on stdout."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Final

import msgspec
import psutil
import typer

from deploy.stack.resolve import ROOT, servers
from deploy.stack.signals import stopped_by_signals
from schemas.config.logging import configure_logging
from schemas.config.settings import LogSettings
from tests.bench.instruments.results import Result
from tests.bench.measures import (
    api,
    claim,
    drain,
    fleet,
    fleet_day,
    formats,
    gateway,
    growth,
    levels,
    limit,
    memory,
    query,
    quick,
    steady,
    traces,
)
from tests.bench.measures.cells import measure as cells
from tests.bench.measures.devices import measure as devices
from tests.bench.measures.years import measure as years
from tests.bench.others import compare, group_protocols
from tests.bench.setup.harness import Harness, migrated_template

MEASURES: Final[dict[str, Callable[[Harness], Iterator[Result]]]] = {
    "drain": drain.measure,
    "limit": limit.measure,
    "others": compare.measure,
    "growth": growth.measure,
    "fleet-day": fleet_day.measure,
    "steady": steady.measure,
    "api": api.measure,
    "gateway": gateway.measure,
    "query": query.measure,
    "fleet": fleet.measure,
}
ON_REQUEST: Final[dict[str, Callable[[Harness], Iterator[Result]]]] = {
    "quick": quick.measure,
    "memory": memory.measure,
    "claim": claim.measure,
    "formats": formats.measure,
    "traces": traces.measure,
    "group-protocols": group_protocols.measure,
    "levels": levels.measure,
    "years": years.measure,
    "devices": devices.measure,
    "cells": cells.measure,
}


def main(
    only: Annotated[
        str | None,
        typer.Option(
            envvar="ONLY",
            help=f"one of: {', '.join((*MEASURES, *ON_REQUEST))}; all but {', '.join(ON_REQUEST)} by default",
        ),
    ] = None,
    runs: Annotated[int, typer.Option(envvar="RUNS", min=1, help="number of runs of each measure")] = 5,
    scale: Annotated[
        float,
        typer.Option(envvar="SCALE", min=0.001, max=1, help="share of the full amount of work, to test a measure"),
    ] = 1,
) -> None:
    """Measure the engine on a real Kafka and a real PostgreSQL on this machine.

    Every run is one line on stdout; the median of all runs follows as another line, with `"run": "median"`.
    """
    measures = MEASURES | ON_REQUEST
    if only and only not in measures:
        raise typer.BadParameter(f"{only} is not one of: {', '.join(measures)}", param_hint="ONLY")
    configure_logging(LogSettings(log_level="WARNING", log_format="console"))
    with stopped_by_signals(), ExitStack() as exits:
        settings = {"shared_buffers": _quarter_of_memory()}
        stack = exits.enter_context(
            servers(ROOT / "bench", report=_log_progress, fresh=True, postgres_settings=settings)
        )
        directory = Path(exits.enter_context(TemporaryDirectory(prefix="energy-bench-")))
        template = exits.enter_context(migrated_template(stack))
        harness = Harness(stack, template, directory, runs, _log_progress, scale)
        for name in [only] if only else MEASURES:
            _run(name, measures[name], harness)


def _run(name: str, measure: Callable[[Harness], Iterator[Result]], harness: Harness) -> None:
    _log_progress(name)
    started = time.monotonic()
    for result in measure(harness):
        typer.echo(msgspec.json.encode(result))
        sys.stdout.flush()
    _log_progress(f"{name} took {time.monotonic() - started:.0f} s")


def _quarter_of_memory() -> str:
    """A quarter of the memory, as on a server of its own; the default of the local stack is for a demo on a desktop machine."""
    return f"{psutil.virtual_memory().total // 4 // 2**20}MB"


def _log_progress(text: str) -> None:
    typer.echo(f"bench: {text}", err=True)


if __name__ == "__main__":
    typer.run(main)
