"""The demo's processes, started as an operator would: `python -m consumer`, `python -m api`, `python -m deploy.simulator`."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil

from deploy.stack.processes import Processes, end_of
from deploy.stack.servers import Servers


class ServiceEndedError(Exception):
    """One of the demo's processes has exited. The message contains the end of its log."""


@dataclass(slots=True)
class Services:
    """The demo's processes. `logs` is the directory of their logs."""

    stack: Servers
    processes: Processes
    logs: Path
    running: dict[str, psutil.Popen] = field(default_factory=dict)
    _restart: dict[str, Callable[[], None]] = field(default_factory=dict)

    def start(self, name: str, module: str, *arguments: str, **settings: str) -> None:
        """Starts `python -m module arguments` under a name. `settings` override the common environment."""
        self.logs.mkdir(parents=True, exist_ok=True)
        (self.logs / f"{name}.log").unlink(missing_ok=True)
        self._restart[name] = partial(self._run, name, module, *arguments, **settings)
        self._restart[name]()

    def restart_exited(self, prefix: str) -> list[str]:
        """Restarts the processes that have exited and whose names begin with `prefix`. Returns their names."""
        exited = [
            name for name, process in self.running.items() if name.startswith(prefix) and process.poll() is not None
        ]
        for name in exited:
            self._restart[name]()
        return exited

    def _run(self, name: str, module: str, *arguments: str, **settings: str) -> None:
        log = self.logs / f"{name}.log"
        environment = {
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": self.stack.kafka_bootstrap_servers,
            "LOG_FORMAT": "console",
            "DATABASE_URL": self.stack.writer_url,
            **settings,
        }
        command = [sys.executable, "-m", module, *arguments]
        self.running[name] = self.processes.start(command, log=log, env=environment)

    def check(self) -> None:
        """Checks that all processes are running.

        Raises:
            ServiceEndedError: one has exited.
        """
        for name, process in self.running.items():
            if process.poll() is not None:
                log = self.logs / f"{name}.log"
                raise ServiceEndedError(
                    f"{name} exited with code {process.returncode}; its log {log} ends:\n{end_of(log)}"
                )
