"""Maintenance and the read service, which run beside the consumers in every scenario."""

import asyncio
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

from deploy.stack.ports import free_port
from deploy.stack.processes import Processes, end_of
from tests.support.services import until_get_succeeds

DAYS_OF_ROWS: Final = 12  # the readings of the load are rows in every scenario but those that attack folding
# Rounds and thresholds as short as they can be, so that a scenario sees many rounds.
MAINTENANCE: Final = {
    "MAINTAIN_INTERVAL_SECONDS": "1",
    "MAINTAIN_METRICS_PORT": "0",
    "ROLLUP_GRACE_MINUTES": "0",
    "FAULT_OPEN_AFTER": "1",
    "FAULT_CLOSE_AFTER": "1",
    "FOLD_AFTER_DAYS": str(DAYS_OF_ROWS),
}


@dataclass(slots=True)
class Services:
    """Starts `python -m sql maintain` and `python -m api` from `code`. `owner_url` is the database as the owner of the schema."""

    processes: Processes
    environment: dict[str, str]
    owner_url: str
    directory: Path
    code: Path
    api_url: str = ""
    _running: dict[str, psutil.Popen] = field(default_factory=dict)
    _frozen: psutil.Popen | None = None

    @property
    def archive(self) -> Path:
        """The archive directory of maintenance and the read service."""
        return self.directory / "archive"

    def start_api(self) -> None:
        port = free_port()
        self.api_url = f"http://127.0.0.1:{port}"
        self._start("api", [], {"API_PORT": str(port), "INGESTION_ENABLED": "false"} | self._archive())

    def start_maintenance(self, **settings: str) -> None:
        self._start("sql", ["maintain"], MAINTENANCE | {"DATABASE_URL": self.owner_url} | self._archive() | settings)

    async def restart_maintenance(self, **settings: str) -> None:
        """Start maintenance again, with other settings where given; all of its tasks run at once."""
        await asyncio.to_thread(self.processes.stop, self._running["sql"])
        self.start_maintenance(**settings)

    async def kill_maintenance(self) -> None:
        """SIGKILL; restart_maintenance() starts it again."""
        await asyncio.to_thread(self.processes.kill, self._running["sql"])

    def freeze_maintenance(self) -> None:
        """SIGSTOP; end_freeze() lets it go on."""
        self._frozen = self._running.pop("sql")
        self._frozen.suspend()

    async def end_freeze(self) -> None:
        """Let the frozen maintenance go on, and stop it in order; does nothing when none is frozen."""
        if self._frozen:
            self._frozen.resume()
            await asyncio.to_thread(self.processes.stop, self._frozen)
            self._frozen = None

    async def until_api_answers(self) -> None:
        """Wait until the read service is ready, which takes a while after an outage of the database."""
        await until_get_succeeds(f"{self.api_url}/readyz", self._log("api"))

    def require_running(self) -> None:
        """Raise AssertionError when one of them has ended."""
        for module, process in self._running.items():
            assert process.poll() is None, f"{module} has ended:\n{end_of(self._log(module), 30)}"

    def _start(self, module: str, arguments: list[str], settings: dict[str, str]) -> None:
        command = [sys.executable, "-m", module, *arguments]
        self._running[module] = self.processes.start(
            command, log=self._log(module), env=self.environment | settings, cwd=self.code
        )

    def _archive(self) -> dict[str, str]:
        self.archive.mkdir(exist_ok=True)
        return {"ARCHIVE_DIRECTORY": str(self.archive)}

    def _log(self, module: str) -> Path:
        return self.directory / f"{module}.log"
