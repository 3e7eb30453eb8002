"""A container engine: the one that runs on this machine, or Debian's dockerd with directories of its own."""

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from deploy.containers.run import CommandError, Docker
from deploy.stack.processes import end_of

START_TIMEOUT_SECONDS: Final = 60.0
STOP_TIMEOUT_SECONDS: Final = 60.0


class EngineError(Exception):
    """A container engine cannot be started or used; the message says why."""


def engine_answers(docker: Docker) -> bool:
    """Whether an engine runs that this account may use."""
    try:
        docker("version", "--format", "{{.Server.Version}}", timeout=20)
    except (CommandError, FileNotFoundError):
        return False
    return True


@contextmanager
def started_engine(data: Path, options: list[str]) -> Iterator[Docker]:
    """A dockerd that runs while the block does. Images are kept below `data`; everything else is in /run, which is ours.

    Raises:
        EngineError: it does not start.
    """
    log = data / "dockerd.log"
    socket = "unix:///run/docker.sock"
    directories = ["--data-root", str(data / "docker"), "--exec-root", "/run/docker", "--pidfile", "/run/docker.pid"]
    with log.open("w") as output:
        process = subprocess.Popen(["dockerd", *directories, "--host", socket, *options], stdout=output, stderr=output)
    try:
        docker = Docker.of_environment(DOCKER_HOST=socket, DOCKER_BUILDKIT="0")
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not engine_answers(docker):
            if process.poll() is not None or time.monotonic() > deadline:
                raise EngineError(f"dockerd does not start; its log {log} ends:\n{end_of(log)}")
            time.sleep(0.2)
        for kind in ("container", "volume"):  # what a killed run has left
            docker(kind, "prune", "--force")
        yield docker
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_TIMEOUT_SECONDS)
