"""Our processes, as an operator starts them: replicas of the consumer, the read service."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

from deploy.stack.ports import free_port
from deploy.stack.processes import Processes, end_of
from deploy.stack.servers import Servers
from tests.support.servers import Database, Topics
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]


def service_environment(stack: Servers, database: Database, topics: Topics) -> dict[str, str]:
    """What our processes are started with: these servers and topics, and nothing that the shell happens to say of others."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("KAFKA_", "DATABASE_", "API_"))},
        "KAFKA_BOOTSTRAP_SERVERS": stack.kafka_bootstrap_servers,
        "KAFKA_METER_TOPIC": topics.meter,
        "KAFKA_VEHICLE_TOPIC": topics.vehicle,
        "KAFKA_ASSIGNMENT_TOPIC": topics.assignment,
        "KAFKA_GROUP_ID": f"group-{topics.meter}",
        "DATABASE_URL": database.writer_url,
        "DATABASE_READ_URL": database.reader_url,
        "METRICS_PORT": "0",
        "API_OPEN": "true",
        "LOG_FORMAT": "json",
    }


@dataclass(frozen=True, slots=True)
class Replica:
    """One `python -m consumer`."""

    process: psutil.Popen
    log: Path

    def events(self, name: str) -> list[dict[str, Any]]:
        """The lines it has logged with that event."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        logged = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
        return [line for line in logged if line.get("event") == name]

    async def says(self, name: str, *, timeout: float = 60) -> dict[str, Any]:
        """The first line with that event, once it comes."""

        async def found() -> list[dict[str, Any]]:
            assert self.process.poll() is None or name == "consumer_stopped", (
                f"the replica ended:\n{end_of(self.log, 40)}"
            )
            return self.events(name)

        said = await until(
            found, lambda: f"the replica logs {name}; its log ends:\n{end_of(self.log)}", timeout=timeout
        )
        return said[0]

    async def address(self) -> str:
        """Where its metrics and probes are."""
        return f"http://127.0.0.1:{(await self.says('consumer_started'))['metrics_port']}"

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples with these labels."""
        async with httpx.AsyncClient() as client:
            text = (await client.get(f"{await self.address()}/metrics")).text
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    async def ready(self) -> dict[str, str]:
        """What it waits for; empty when ready."""
        async with httpx.AsyncClient() as client:
            waiting: dict[str, str] = (await client.get(f"{await self.address()}/readyz")).json()["waiting_for"]
        return waiting

    async def until_ready(self) -> None:
        async def nothing_left() -> bool:
            return not await self.ready()

        await until(nothing_left, "the replica is ready")

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)


@dataclass(slots=True)
class Group:
    """Replicas of one consumer group, run from the project's code or from a copy of it."""

    processes: Processes
    environment: dict[str, str]
    directory: Path
    code: Path = ROOT
    started: int = 0

    def start(self, **settings: str) -> Replica:
        """One more replica."""
        self.started += 1
        log = self.directory / f"consumer-{self.started}.log"
        environment = self.environment | settings
        return Replica(
            self.processes.start([sys.executable, "-m", "consumer"], log=log, env=environment, cwd=self.code), log
        )

    def kill(self, replica: Replica) -> None:
        """kill -9."""
        self.processes.kill(replica.process)

    def stop(self, replica: Replica) -> int:
        """SIGTERM; its exit code."""
        return self.processes.stop(replica.process)


@dataclass(frozen=True, slots=True)
class Operator:
    """Runs `python -m consumer ...`; its DATABASE_URL should be that of the schema's owner."""

    environment: dict[str, str]

    async def tries(self, *arguments: str, answer: str = "") -> tuple[int, str, str]:
        """Exit code, stdout, stderr."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "consumer", *arguments,
            env=self.environment, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        printed, said = await process.communicate(answer.encode())
        assert b"Traceback" not in said, said.decode()
        return process.returncode or 0, printed.decode(), said.decode()

    async def does(self, *arguments: str) -> tuple[str, str]:
        """stdout and stderr of a command that succeeds."""
        code, printed, said = await self.tries(*arguments)
        assert code == 0, printed + said
        return printed, said

    async def refused(self, *arguments: str, answer: str = "") -> str:
        """What a command says that changes nothing."""
        code, _, said = await self.tries(*arguments, answer=answer)
        assert code == 1, said
        return said

    async def standings(self) -> list[dict[str, Any]]:
        printed, _ = await self.does("offsets", "show", "--json")
        return [json.loads(line) for line in printed.splitlines()]


@contextlib.contextmanager
def read_service(
    processes: Processes, environment: dict[str, str], directory: Path, *arguments: str
) -> Iterator[httpx.Client]:
    """A running `python -m api` and a client for it."""
    port, log = free_port(), directory / "api.log"
    process = processes.start(
        [sys.executable, "-m", "api", *arguments], log=log, env=environment | {"API_PORT": str(port)}, cwd=ROOT
    )
    _until_it_listens(process, port, log)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
        yield client
    code = processes.stop(process)
    assert code == 0, f"the read service ended with {code}:\n{end_of(log)}"


def gateway_service(
    processes: Processes, environment: dict[str, str], directory: Path
) -> contextlib.AbstractContextManager[httpx.Client]:
    """A running gateway, alone in its process, and a client for it."""
    return read_service(processes, environment, directory, "--only", "ingestion")


def _until_it_listens(process: psutil.Popen, port: int, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        with contextlib.suppress(psutil.TimeoutExpired):
            raise AssertionError(f"the read service ended with {process.wait(0.05)}:\n{end_of(log)}")
    raise AssertionError(f"the read service does not listen:\n{end_of(log)}")
