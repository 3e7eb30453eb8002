"""`python -m tests.faults`, behind `make faults`: progress and a table on stderr, a line of JSON a scenario on stdout."""

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
from tests.bench.setup.harness import migrated_template
from tests.faults.matrix import SCENARIOS
from tests.faults.report import markdown
from tests.faults.scenario import Report, Scenario, run

NAMES: Final = [scenario.name for scenario in SCENARIOS]


def main(
    only: Annotated[str | None, typer.Option(envvar="ONLY", help=f"one of: {', '.join(NAMES)}; all by default")] = None,
    rounds: Annotated[
        int | None, typer.Option(envvar="ROUNDS", min=1, help="rounds of each scenario; its own number by default")
    ] = None,
    output: Annotated[Path, typer.Option(help="directory for faults.json and faults.md")] = ROOT / "faults-report",
) -> None:
    """Attack the engine on a real Kafka and a real PostgreSQL; exits with 1 when a promise was broken."""
    chosen = [scenario for scenario in SCENARIOS if only in {None, scenario.name}]
    if not chosen:
        raise typer.BadParameter(f"{only} is not one of: {', '.join(NAMES)}", param_hint="ONLY")
    configure_logging(LogSettings(log_level="WARNING", log_format="console"))
    reports: list[Report] = []
    with stopped_by_signals():
        _run_all(chosen, rounds, reports)
    output.mkdir(parents=True, exist_ok=True)
    (output / "faults.json").write_bytes(msgspec.json.format(msgspec.json.encode(reports)))
    (output / "faults.md").write_text(markdown(reports))
    typer.echo("\n" + markdown(reports), err=True)
    raise typer.Exit(0 if len(reports) == len(chosen) and all(report.as_promised for report in reports) else 1)


def _run_all(chosen: list[Scenario], rounds: int | None, reports: list[Report]) -> None:
    """Run the scenarios and append their reports, which are kept when a signal ends the run."""
    logs = Path(mkdtemp(prefix="energy-faults-"))
    _log_progress(f"the logs of the consumers are in {logs}")
    with ExitStack() as exits:
        stack = exits.enter_context(servers(ROOT / "faults", report=_log_progress, fresh=True))
        template = exits.enter_context(migrated_template(stack))
        for scenario in chosen:
            directory = logs / scenario.name
            report = run(scenario, rounds or scenario.rounds, stack, template, directory, _log_progress)
            reports.append(report)
            typer.echo(msgspec.json.encode(report))
            sys.stdout.flush()


def _log_progress(text: str) -> None:
    typer.echo(f"faults: {text}", err=True)


if __name__ == "__main__":
    typer.run(main)
