"""docker-compose.yml as a project of its own, beside one that a user runs: other names, volumes, secrets and ports."""

import json
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from deploy.compose.__main__ import create_secrets
from deploy.containers.run import CommandError, Docker, run

ROOT: Final = Path(__file__).parents[2]
NAME: Final = "energy-check"
PROJECT: Final = f"label=com.docker.compose.project={NAME}"


class Project:
    """The containers of docker-compose.yml while the block runs; afterwards they, their volumes and networks are removed."""

    def __init__(self, docker: Docker, report: Callable[[str], None]) -> None:
        self.docker = docker
        self.report = report
        self._directory = Path(tempfile.mkdtemp(prefix="energy-containers-"))
        self._compose = [*docker.compose(), "--project-name", NAME, "--file", str(ROOT / "docker-compose.yml")]
        self.config: dict[str, Any] = json.loads(self.compose("--profile", "*", "config", "--format", "json"))
        create_secrets(self._directory / "secrets")
        self._compose += ["--file", str(self._override())]

    def __enter__(self) -> "Project":
        self.remove()  # what a killed run has left
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception):
            self._report_state()
        self.remove()
        shutil.rmtree(self._directory)

    def compose(self, *words: str) -> str:
        """The output of `docker compose words...`."""
        return run([*self._compose, *words], self.docker.environment)

    def run_as_operator(self, *command: str) -> str:
        """The output of a command as docs/getting-started.md describes operators' commands."""
        return self.compose("run", "--rm", "--no-deps", "operator", *command)

    def images(self) -> list[str]:
        """The images that are not built here; first the one on which ours stands."""
        base = re.search(r"^ARG PYTHON_IMAGE=(.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
        if base is None:
            raise CommandError("the Dockerfile has no ARG PYTHON_IMAGE")
        return [base[1], *(each["image"] for each in self.config["services"].values() if "build" not in each)]

    def services(self) -> list[str]:
        """The services that `docker compose up` starts, without those whose image cannot be had."""
        available = self.docker.ids("images", "--format", "{{.Repository}}:{{.Tag}}")
        services = self.config["services"].items()
        return [name for name, each in services if not each.get("profiles") and each["image"] in available]

    def containers(self, service: str) -> list[dict[str, Any]]:
        """What `docker inspect` prints about the containers of a service, also those that have exited."""
        ids = self.compose("ps", "--all", "--quiet", service).split()
        inspected: list[dict[str, Any]] = json.loads(self.docker("inspect", *ids)) if ids else []
        return inspected

    def address(self, service: str, port: int) -> str:
        """The URL of a published port."""
        return f"http://{self.compose('port', service, str(port))}"

    def leftovers(self) -> list[str]:
        """Containers, volumes and networks of the project."""
        kinds = {"container": ["ps", "--all"], "volume": ["volume", "ls"], "network": ["network", "ls"]}
        return [
            f"{kind} {each}"
            for kind, words in kinds.items()
            for each in self.docker.ids(*words, "--quiet", "--filter", PROJECT)
        ]

    def remove(self) -> None:
        self.compose("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "5")

    def _override(self) -> Path:
        """A second compose file: free ports instead of fixed ones, and secrets of this run."""
        lines = ["services:"]
        for name, service in self.config["services"].items():
            ports = [f'"127.0.0.1::{each["target"]}"' for each in service.get("ports", [])]
            if ports:
                lines.append(f"  {name}: {{ports: !override [{', '.join(ports)}]}}")
        lines.append("secrets:")
        for name, secret in self.config["secrets"].items():
            lines.append(f"  {name}: {{file: {self._directory / 'secrets' / Path(secret['file']).name}}}")
        file = self._directory / "override.yml"
        file.write_text("\n".join(lines))
        return file

    def _report_state(self) -> None:
        """What an operator would look at first."""
        self.report(self.compose("ps", "--all", "--format", "table {{.Service}}\t{{.Status}}"))
        self.report(self.compose("logs", "--no-color", "--tail", "15"))
