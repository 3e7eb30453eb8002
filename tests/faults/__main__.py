"""`make faults`: the matrix at length. Progress on stderr, one JSON object a scenario on stdout, a table at the end."""

import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import mkdtemp
from typing import Annotated, Final

import msgspec
import typer

from deploy.stack.resolve import ROOT, servers
from deploy.stack.signals import stopped_by_signals
from schemas.config.logging import configure_logging
from schemas.config.settings import LogSettings
from tests.bench.ground import Ground
from tests.faults.report import markdown
from tests.faults.scenario import Report, run
from tests.faults.scenarios import SCENARIOS

NAMES: Final = [scenario.name for scenario in SCENARIOS]


def main(
    only: Annotated[str | None, typer.Option(envvar="ONLY", help=f"one of: {', '.join(NAMES)}; all by default")] = None,
    rounds: Annotated[
        int | None, typer.Option(envvar="ROUNDS", min=1, help="attacks of each; its own by default")
    ] = None,
    output: Annotated[Path, typer.Option(help="where faults.json and faults.md are written")] = ROOT / "faults-report",
) -> None:
    """Attack the engine on a real Kafka and a real PostgreSQL; exit code 1 when a promise was broken."""
    chosen = [scenario for scenario in SCENARIOS if only in {None, scenario.name}]
    if not chosen:
        raise typer.BadParameter(f"{only} is not one of: {', '.join(NAMES)}", param_hint="ONLY")
    configure_logging(LogSettings(log_level="WARNING", log_format="console"))
    reports: list[Report] = []
    logs = Path(mkdtemp(prefix="energy-faults-"))
    _say(f"the replicas' logs are in {logs}")
    with stopped_by_signals(), ExitStack() as exits:
        stack = exits.enter_context(servers(ROOT / "faults", report=_say, fresh=True))
        ground = exits.enter_context(Ground.on(stack, logs, 1, _say))
        for scenario in chosen:
            report = run(scenario, rounds or scenario.rounds, stack, ground.template, logs / scenario.name, _say)
            reports.append(report)
            typer.echo(msgspec.json.encode(report))
            sys.stdout.flush()
    output.mkdir(parents=True, exist_ok=True)
    (output / "faults.json").write_bytes(msgspec.json.format(msgspec.json.encode(reports)))
    (output / "faults.md").write_text(markdown(reports))
    typer.echo("\n" + markdown(reports), err=True)
    raise typer.Exit(0 if len(reports) == len(chosen) and all(report.as_promised for report in reports) else 1)


def _say(text: str) -> None:
    typer.echo(f"faults: {text}", err=True)


if __name__ == "__main__":
    typer.run(main)
