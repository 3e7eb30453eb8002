"""Our own processes, started as an operator would: `python -m consumer`, `python -m api`, `python -m deploy.simulator`."""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from deploy.stack.processes import Processes, end_of
from deploy.stack.resolve import Servers


class ServiceEndedError(Exception):
    """One of the demo's processes has ended; the message carries the end of its log."""


@dataclass(slots=True)
class Services:
    """The demo's processes, their logs under `logs`."""

    stack: Servers
    processes: Processes
    logs: Path
    running: dict[str, psutil.Popen] = field(default_factory=dict)

    def start(self, name: str, module: str, *arguments: str, **settings: str) -> psutil.Popen:
        """Start `python -m module arguments` under a name, with settings on top of the common ones."""
        self.logs.mkdir(parents=True, exist_ok=True)
        log = self.logs / f"{name}.log"
        log.unlink(missing_ok=True)
        environment = {
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": self.stack.kafka_bootstrap_servers,
            "LOG_FORMAT": "console",
            "DATABASE_URL": self.stack.writer_url,
            **settings,
        }
        command = [sys.executable, "-m", module, *arguments]
        self.running[name] = self.processes.start(command, log=log, env=environment)
        return self.running[name]

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
