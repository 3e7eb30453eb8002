"""`python -m tests.faults.mutants`, behind `make mutants`: progress and a table on stderr, a line of JSON a mutant on stdout."""

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Annotated, Final

import msgspec
import typer

from deploy.stack.resolve import ROOT as STACK
from deploy.stack.resolve import servers
from deploy.stack.servers import Servers
from deploy.stack.signals import stopped_by_signals
from schemas.config.logging import configure_logging
from schemas.config.settings import LogSettings
from tests.bench.setup.harness import migrated_template
from tests.faults.altered_code import altered_copy
from tests.faults.matrix import SCENARIOS
from tests.faults.mutants.catalogue import MUTANTS, Mutant
from tests.faults.scenario import Report, run
from tests.support.database import Database, new_database
from tests.support.repository import ROOT

NAMES: Final = [mutant.name for mutant in MUTANTS]
BY_NAME: Final = {scenario.name: scenario for scenario in SCENARIOS}
FINDING_LENGTH: Final = 160
_numbers = itertools.count(1)


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a mutant, printed as a line of JSON. `finding` is the first of the findings, null when it has survived."""

    mutant: str
    mistake: str
    scenario: str
    found: bool
    finding: str | None
    findings: int
    seconds: float


def main(
    only: Annotated[str | None, typer.Option(envvar="ONLY", help=f"one of: {', '.join(NAMES)}; all by default")] = None,
    jobs: Annotated[int, typer.Option(envvar="JOBS", min=1, help="how many run at a time")] = 2,
) -> None:
    """Run each mutant of the engine through the scenario that has to find it; exits with 1 when one survives.

    The scenarios are run on the unchanged code first: findings there would prove nothing.
    """
    chosen = [mutant for mutant in MUTANTS if only in {None, mutant.name}]
    if not chosen:
        raise typer.BadParameter(f"{only} is not one of: {', '.join(NAMES)}", param_hint="ONLY")
    configure_logging(LogSettings(log_level="WARNING", log_format="console"))
    with stopped_by_signals():
        outcomes = _run_all(chosen, jobs)
    typer.echo("\n" + _markdown(outcomes), err=True)
    survivors = [outcome.mutant for outcome in outcomes if not outcome.found]
    _log_progress(f"survived: {', '.join(survivors) or 'none'} of {len(outcomes)}")
    raise typer.Exit(1 if survivors else 0)


def _run_all(chosen: list[Mutant], jobs: int) -> list[Outcome]:
    logs = Path(mkdtemp(prefix="energy-mutants-"))
    _log_progress(f"the logs of the services are in {logs}")
    with ExitStack() as exits:
        stack = exits.enter_context(servers(STACK / "faults", report=_log_progress, fresh=True))
        template = exits.enter_context(migrated_template(stack))
        threads = exits.enter_context(ThreadPoolExecutor(jobs))
        scenarios = sorted({mutant.scenario for mutant in chosen})
        for name, report in zip(
            scenarios,
            threads.map(lambda each: _run_scenario(each, stack, template, logs / f"unchanged-{each}"), scenarios),
            strict=True,
        ):
            if not report.as_promised:
                raise SystemExit(f"{name} has findings on the unchanged code: {report.findings}")
        return list(threads.map(lambda mutant: _try(mutant, stack, template, logs / mutant.name), chosen))


def _try(mutant: Mutant, stack: Servers, template: Database, directory: Path) -> Outcome:
    started = time.monotonic()
    code = altered_copy(directory / "code", [mutant.change])
    if mutant.change.file.startswith("sql/migrations/"):
        with _template_of(code, stack) as migrated:
            report = _run_scenario(mutant.scenario, stack, migrated, directory, code)
    else:
        report = _run_scenario(mutant.scenario, stack, template, directory, code)
    outcome = Outcome(
        mutant=mutant.name,
        mistake=mutant.mistake,
        scenario=mutant.scenario,
        found=bool(report.findings),
        finding=next(iter(report.findings), None),
        findings=len(report.findings),
        seconds=round(time.monotonic() - started, 1),
    )
    typer.echo(msgspec.json.encode(outcome))
    sys.stdout.flush()
    return outcome


def _run_scenario(name: str, stack: Servers, template: Database, directory: Path, code: Path = ROOT) -> Report:
    scenario = BY_NAME[name]
    return run(scenario, scenario.min_rounds, stack, template, directory, _log_progress, code=code)


@contextmanager
def _template_of(code: Path, stack: Servers) -> Iterator[Database]:
    """A database that the migrations of a copy of the sources have made."""
    with new_database(stack, f"energy_mutant_{os.getpid()}_{next(_numbers)}") as template:
        environment = os.environ | {"DATABASE_URL": template.migrator_url, "LOG_LEVEL": "WARNING"}
        subprocess.run([sys.executable, "-m", "sql", "migrate"], cwd=code, env=environment, check=True)
        yield template


def _markdown(outcomes: list[Outcome]) -> str:
    lines = ["| mutant | the mistake | found by | first finding |", "|---|---|---|---|"]
    for each in outcomes:
        finding = (each.finding or "**survived**").replace("|", "\\|")[:FINDING_LENGTH]
        lines.append(f"| {each.mutant} | {each.mistake} | {each.scenario if each.found else '-'} | {finding} |")
    return "\n".join(lines)


def _log_progress(text: str) -> None:
    typer.echo(f"mutants: {text}", err=True)


if __name__ == "__main__":
    typer.run(main)
