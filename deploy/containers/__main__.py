"""The command `python -m deploy.containers`, behind `make containers`."""

import os
import sys
import time
from pathlib import Path
from typing import Annotated, Final

import typer

from deploy.containers import isolation
from deploy.containers.checks import check
from deploy.containers.engine import EngineError, engine_answers, started_engine
from deploy.containers.project import Project
from deploy.containers.run import CommandError, Docker
from deploy.containers.standins import provide_images
from deploy.stack.signals import stopped_by_signals

DATA: Final = Path(__file__).parents[2] / ".stack" / "containers"
ISOLATED: Final = "DEPLOY_CONTAINERS_ISOLATED"  # set for the process inside the namespaces
INTERRUPTED: Final = 130
STARTED: Final = time.monotonic()


def main(
    own_engine: Annotated[bool, typer.Option("--own-engine", help="start an engine although one is running")] = False,
) -> None:
    """Build the image, run docker-compose.yml, and check it: readings in and out, signals, crashes, restarts, what is left over.

    Uses the container engine of this machine. Where none can be used, starts Debian's dockerd in namespaces of its own, as root;
    that needs the packages docker.io, mmdebstrap, iptables and slirp4netns. Its images are kept in .stack/containers.
    Without either, nothing is checked: the exit code is 0, or 1 if CI is set.
    """
    if ISOLATED in os.environ:
        raise typer.Exit(_inside())
    if not own_engine and engine_answers(Docker.of_environment()):
        try:
            raise typer.Exit(_checked(Docker.of_environment(), own=False))
        except EngineError as error:
            _report(f"the container engine of this machine cannot be used: {error}")
    try:
        isolation.require()
        _report("starting a container engine in namespaces of its own")
        raise typer.Exit(isolation.run([sys.executable, "-m", "deploy.containers"], DATA, {ISOLATED: "1"}))
    except EngineError as error:
        _report(f"nothing was checked: no container engine can be used, and none can be started: {error}")
        raise typer.Exit(1 if os.environ.get("CI") else 0) from None


def _inside() -> int:
    try:
        isolation.wait_for_network()
        options = ["--dns", isolation.NAME_SERVER, "--cgroup-parent", isolation.cgroup_parent()]
        with started_engine(DATA, options) as docker:
            return _checked(docker, own=True)
    except EngineError as error:
        _report(str(error))
        return 1


def _checked(docker: Docker, *, own: bool) -> int:
    """0 when every check succeeded, else 1; 130 after Ctrl-C and the cleanup.

    Raises:
        EngineError: the engine lacks an image.
    """
    code = INTERRUPTED
    try:
        with stopped_by_signals(), Project(docker, _report, keep_images=own) as project:
            provide_images(docker, project.images(), _report, stand_ins=own)
            check(project)
            code = 0
    except (CommandError, TimeoutError, AssertionError) as error:
        _report(f"failed: {error}")
        return 1
    return code


def _report(text: str) -> None:
    typer.echo(f"containers: {time.monotonic() - STARTED:5.1f} s  {text}", err=True)


if __name__ == "__main__":
    typer.run(main)
