"""docker-compose.yml as a project of its own, beside one that a user runs: other names, images, volumes, secrets and ports."""

import json
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from deploy.compose.__main__ import create_secrets
from deploy.containers.run import TIMEOUT_SECONDS, CommandError, Docker, run

ROOT: Final = Path(__file__).parents[2]
NAME: Final = "energy-check"
PROJECT: Final = f"label=com.docker.compose.project={NAME}"


class Project:
    """The containers of docker-compose.yml while the block runs; afterwards they, their volumes and networks are removed.

    The images that are built are removed as well, unless `keep_images`.
    """

    def __init__(self, docker: Docker, report: Callable[[str], None], *, keep_images: bool) -> None:
        self.docker = docker
        self.report = report
        self._keep_images = keep_images
        self._directory = Path(tempfile.mkdtemp(prefix="energy-containers-"))
        self._compose = [*docker.compose(), "--project-name", NAME, "--file", str(ROOT / "docker-compose.yml")]
        create_secrets(self._directory / "secrets")
        self._compose += ["--file", str(self._override(self._read_config()))]
        self.config = self._read_config()

    def __enter__(self) -> "Project":
        self.remove()  # what a killed run has left
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception) and self.leftovers():
            self._report_state()
        self.remove()
        if not self._keep_images and (built := self.built_images() & self._available_images()):
            self.docker("image", "rm", *built)
        shutil.rmtree(self._directory)

    def compose(self, *words: str, timeout: float = TIMEOUT_SECONDS) -> str:
        """The output of `docker compose words...`."""
        return run([*self._compose, *words], self.docker.environment, timeout=timeout)

    def run_as_operator(self, *command: str) -> str:
        """The output of a command as docs/getting-started.md describes operators' commands."""
        return self.compose("run", "--rm", "--no-deps", "operator", *command)

    def images(self) -> list[str]:
        """The images that are not built here; first the one on which ours stands."""
        base = re.search(r"^ARG PYTHON_IMAGE=(.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
        if base is None:
            raise CommandError("the Dockerfile has no ARG PYTHON_IMAGE")
        return [base[1], *(each["image"] for each in self.config["services"].values() if "build" not in each)]

    def built_images(self) -> set[str]:
        """The images that are built here. Their names are not those of docker-compose.yml, which a user may have built."""
        return {each["image"] for each in self.config["services"].values() if "build" in each}

    def services(self) -> list[str]:
        """The services that `docker compose up` starts, without those whose image cannot be had."""
        available = self._available_images()
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

    def _available_images(self) -> set[str]:
        return self.docker.ids("images", "--format", "{{.Repository}}:{{.Tag}}")

    def _read_config(self) -> dict[str, Any]:
        config: dict[str, Any] = json.loads(self.compose("--profile", "*", "config", "--format", "json"))
        return config

    def _override(self, config: dict[str, Any]) -> Path:
        """A second compose file: other names of the images, free ports instead of fixed ones, and secrets of this run."""
        lines = ["services:"]
        for name, service in config["services"].items():
            changes = []
            if ports := [f'"127.0.0.1::{each["target"]}"' for each in service.get("ports", [])]:
                changes.append(f"ports: !override [{', '.join(ports)}]")
            if "build" in service:
                changes.append(f'image: "{NAME}:{service["image"].partition(":")[2]}"')
            if changes:
                lines.append(f"  {name}: {{{', '.join(changes)}}}")
        lines.append("secrets:")
        for name, secret in config["secrets"].items():
            lines.append(f"  {name}: {{file: {self._directory / 'secrets' / Path(secret['file']).name}}}")
        file = self._directory / "override.yml"
        file.write_text("\n".join(lines))
        return file

    def _report_state(self) -> None:
        """What an operator would look at first."""
        self.report(self.compose("ps", "--all", "--format", "table {{.Service}}\t{{.Status}}"))
        self.report(self.compose("logs", "--no-color", "--tail", "15"))
