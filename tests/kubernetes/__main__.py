"""`python -m tests.kubernetes`, behind `make kubernetes`: progress on stderr, a line of JSON a check on stdout."""

import shutil
import tempfile
from pathlib import Path

import msgspec
import typer

from deploy.stack.processes import ProcessEndedError, Processes
from deploy.stack.signals import stopped_by_signals
from tests.kubernetes.checks import CHECKS, Check
from tests.kubernetes.cluster import Cluster, CommandError, running_cluster
from tests.kubernetes.programs import BuildError, build_missing


def main() -> None:
    """Run the chart on the real control plane of Kubernetes with simulated nodes; exits with 1 when a check fails."""
    passed = False
    directory = Path(tempfile.mkdtemp(prefix="energy-kubernetes-"))
    _log_progress(f"the logs are in {directory} and are removed when all checks pass")
    with stopped_by_signals(), Processes() as processes:
        passed = _run(processes, directory)
    if passed:
        shutil.rmtree(directory)
    raise typer.Exit(0 if passed else 1)


def _run(processes: Processes, directory: Path) -> bool:
    """Whether all checks pass; the first one that does not ends the run."""
    try:
        programs = build_missing(processes, _log_progress)
        with running_cluster(programs, processes, directory, _log_progress) as cluster:
            return all(_passes(check, cluster) for check in CHECKS)
    except (BuildError, CommandError, ProcessEndedError, TimeoutError) as error:
        _log_progress(str(error))
        return False


def _passes(check: Check, cluster: Cluster) -> bool:
    result: dict[str, object] = {"check": check.__name__, "passed": True}
    try:
        result["found"] = check(cluster)
    except (AssertionError, CommandError) as error:
        result |= {"passed": False, "error": str(error)}
    typer.echo(msgspec.json.encode(result))
    return result["passed"] is True


def _log_progress(text: str) -> None:
    typer.echo(f"kubernetes: {text}", err=True)


if __name__ == "__main__":
    typer.run(main)
