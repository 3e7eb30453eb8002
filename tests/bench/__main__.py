"""`make bench`, `python -m tests.bench [MEASURE...]`: progress on stderr, one JSON object a result on stdout."""

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
from tests.bench import drain, fleet, fleet_day, gateway, growth, limit, load, query, quick, steady
from tests.bench.ground import Ground, Result
from tests.bench.others import compare

MEASURES: Final[dict[str, Callable[[Ground], Iterator[Result]]]] = {
    "drain": drain.measure,
    "limit": limit.measure,
    "others": compare.measure,
    "growth": growth.measure,
    "fleet-day": fleet_day.measure,
    "steady": steady.measure,
    "api": load.measure,
    "gateway": gateway.measure,
    "query": query.measure,
    "fleet": fleet.measure,
}
ON_REQUEST: Final[dict[str, Callable[[Ground], Iterator[Result]]]] = {"quick": quick.measure}


def main(
    only: Annotated[
        str | None,
        typer.Option(
            envvar="ONLY",
            help=f"one of: {', '.join((*MEASURES, *ON_REQUEST))}; all but {', '.join(ON_REQUEST)} by default",
        ),
    ] = None,
    runs: Annotated[int, typer.Option(envvar="RUNS", min=1, help="how often each is measured")] = 5,
    scale: Annotated[
        float,
        typer.Option(envvar="SCALE", min=0.001, max=1, help="share of the full amount of work, to try things out"),
    ] = 1,
) -> None:
    """Measure the engine on a real Kafka and a real PostgreSQL of this machine.

    Every run is a line on stdout, and the median of all runs follows as another, with `"run": "median"`.
    """
    known = MEASURES | ON_REQUEST
    if only and only not in known:
        raise typer.BadParameter(f"{only} is not one of: {', '.join(known)}", param_hint="ONLY")
    configure_logging(LogSettings(log_level="WARNING", log_format="console"))
    with stopped_by_signals(), ExitStack() as exits:
        settings = {"shared_buffers": _quarter_of_memory()}
        stack = exits.enter_context(servers(ROOT / "bench", report=_say, fresh=True, postgres_settings=settings))
        directory = Path(exits.enter_context(TemporaryDirectory(prefix="energy-bench-")))
        ground = exits.enter_context(Ground.on(stack, directory, runs, _say, scale))
        for name in [only] if only else MEASURES:
            _say(name)
            began = time.monotonic()
            for result in known[name](ground):
                typer.echo(msgspec.json.encode(result))
                sys.stdout.flush()
            _say(f"{name} took {time.monotonic() - began:.0f} s")


def _quarter_of_memory() -> str:
    """What a server of its own would be given; the small default is for a demo on somebody's desk."""
    return f"{psutil.virtual_memory().total // 4 // 2**20}MB"


def _say(text: str) -> None:
    typer.echo(f"bench: {text}", err=True)


if __name__ == "__main__":
    typer.run(main)
