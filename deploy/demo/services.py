"""Our own processes, started as an operator would: `python -m consumer`, `python -m api`, `python -m deploy.simulator`."""

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
    """One of the demo's processes has ended; the message carries the end of its log."""


@dataclass(slots=True)
class Services:
    """The demo's processes, their logs under `logs`."""

    stack: Servers
    processes: Processes
    logs: Path
    running: dict[str, psutil.Popen] = field(default_factory=dict)
    _again: dict[str, Callable[[], None]] = field(default_factory=dict)

    def start(self, name: str, module: str, *arguments: str, **settings: str) -> None:
        """Start `python -m module arguments` under a name, with settings on top of the common ones."""
        self.logs.mkdir(parents=True, exist_ok=True)
        (self.logs / f"{name}.log").unlink(missing_ok=True)
        self._again[name] = partial(self._run, name, module, *arguments, **settings)
        self._again[name]()

    def start_again(self, names: str) -> list[str]:
        """Start those again that have ended, of the processes whose names begin with `names`; which they were."""
        ended = [
            name for name, process in self.running.items() if name.startswith(names) and process.poll() is not None
        ]
        for name in ended:
            self._again[name]()
        return ended

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
        """Nothing when all still run.

        Raises:
            ServiceEndedError: when one does not.
        """
        for name, process in self.running.items():
            if process.poll() is not None:
                log = self.logs / f"{name}.log"
                raise ServiceEndedError(
                    f"{name} ended with code {process.returncode}; its log {log} ends:\n{end_of(log)}"
                )
