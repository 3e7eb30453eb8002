"""`make bench`, `python -m tests.bench [MEASURE...]`: progress on stderr, one JSON object a result on stdout."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Final

import msgspec
import typer

from deploy.stack.resolve import ROOT, servers
from deploy.stack.signals import stopped_by_signals
from schemas.log import configure_logging
from schemas.settings import LogSettings
from tests.bench import drain, fleet, query
from tests.bench.ground import Ground, Result

MEASURES: Final[dict[str, Callable[[Ground], Iterator[Result]]]] = {
    "drain": drain.measure,
    "query": query.measure,
    "fleet": fleet.measure,
}


def main(
    only: Annotated[
        str | None, typer.Option(envvar="ONLY", help=f"one of: {', '.join(MEASURES)}; all by default")
    ] = None,
    runs: Annotated[int, typer.Option(envvar="RUNS", min=1, help="how often each is measured")] = 5,
) -> None:
    """Measure the engine on a real Kafka and a real PostgreSQL of this machine.

    Every run is a line on stdout, and the median of all runs follows as another, with `"run": "median"`.
    """
    if only and only not in MEASURES:
        raise typer.BadParameter(f"{only} is not one of: {', '.join(MEASURES)}", param_hint="ONLY")
    configure_logging(LogSettings(log_level="WARNING", log_format="console"))
    with stopped_by_signals(), ExitStack() as exits:
        stack = exits.enter_context(servers(ROOT / "bench", say=_say, fresh=True))
        directory = Path(exits.enter_context(TemporaryDirectory(prefix="energy-bench-")))
        ground = exits.enter_context(Ground.on(stack, directory, runs, _say))
        for name in [only] if only else MEASURES:
            _say(name)
            for result in MEASURES[name](ground):
                typer.echo(msgspec.json.encode(result))
                sys.stdout.flush()


def _say(text: str) -> None:
    typer.echo(f"bench: {text}", err=True)


if __name__ == "__main__":
    typer.run(main)
