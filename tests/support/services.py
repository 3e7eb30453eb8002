"""Services as an operator starts them: consumers of a group, and the read service with or without ingestion."""

import contextlib
import json
import os
import signal
import socket
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
from tests.support.database import Database
from tests.support.ledger import Topics
from tests.support.repository import ROOT
from tests.support.responses import http_client
from tests.support.waiting import until


def service_environment(stack: Servers, database: Database, topics: Topics) -> dict[str, str]:
    """The environment of a service on these servers and topics. Settings of other servers in this shell are left out."""
    return {
        **{
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("KAFKA_", "DATABASE_", "API_", "SCHEMA_", "OTEL_"))
        },
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
class ConsumerProcess:
    """A running `python -m consumer`."""

    process: psutil.Popen
    log: Path

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log lines with this event so far."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        logged = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
        return [line for line in logged if line.get("event") == name]

    async def until_logged(self, name: str, *, timeout: float = 60) -> dict[str, Any]:
        """Waits for a log line with this event and returns the first one."""

        async def logged() -> list[dict[str, Any]]:
            assert self.process.poll() is None or name == "consumer_stopped", (
                f"the consumer has exited:\n{end_of(self.log, 40)}"
            )
            return self.events(name)

        lines = await until(
            logged, lambda: f"the consumer logs {name}; its log ends:\n{end_of(self.log)}", timeout=timeout
        )
        return lines[0]

    async def address(self) -> str:
        """The base URL of its metrics and probes."""
        return f"http://127.0.0.1:{(await self.until_logged('consumer_started'))['metrics_port']}"

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        async with http_client(await self.address()) as client:
            text = (await client.get("/metrics")).text
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    async def blocked_by(self) -> dict[str, str]:
        """The reasons why it is not ready, as /readyz lists them; empty when it is ready."""
        async with http_client(await self.address()) as client:
            reasons: dict[str, str] = (await client.get("/readyz")).json()["waiting_for"]
        return reasons

    async def until_ready(self) -> None:
        async def ready() -> bool:
            return not await self.blocked_by()

        await until(ready, "the consumer is ready")

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)


@dataclass(slots=True)
class ConsumerGroup:
    """Consumers of one group, run from this repository or from a copy of it."""

    processes: Processes
    environment: dict[str, str]
    directory: Path
    code: Path = ROOT
    started: int = 0

    def start(self, **settings: str) -> ConsumerProcess:
        """Starts one more consumer, with other settings where given."""
        self.started += 1
        log = self.directory / f"consumer-{self.started}.log"
        environment = self.environment | settings
        return ConsumerProcess(
            self.processes.start([sys.executable, "-m", "consumer"], log=log, env=environment, cwd=self.code), log
        )

    def kill(self, consumer: ConsumerProcess) -> None:
        """Sends SIGKILL."""
        self.processes.kill(consumer.process)

    def stop(self, consumer: ConsumerProcess) -> int:
        """Sends SIGTERM and returns the exit code."""
        return self.processes.stop(consumer.process)


@contextlib.contextmanager
def read_service(
    processes: Processes, environment: dict[str, str], directory: Path, *arguments: str
) -> Iterator[httpx.Client]:
    """A running `python -m api` and a client for it. Fails unless the service exits with code 0 when the block ends."""
    port, log = free_port(), directory / "api.log"
    process = processes.start(
        [sys.executable, "-m", "api", *arguments], log=log, env=environment | {"API_PORT": str(port)}, cwd=ROOT
    )
    _wait_until_listening(process, port, log)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20, verify=False) as client:
        yield client
    code = processes.stop(process)
    assert code == 0, f"the read service exited with {code}:\n{end_of(log)}"


def ingestion_service(
    processes: Processes, environment: dict[str, str], directory: Path
) -> contextlib.AbstractContextManager[httpx.Client]:
    """A running `python -m api --only ingestion`, which needs no database, and a client for it."""
    return read_service(processes, environment, directory, "--only", "ingestion")


async def until_get_succeeds(url: str, log: Path) -> None:
    """Waits until a GET request of this URL is answered with success; otherwise the error quotes the end of the log."""

    async def succeeds() -> bool:
        async with http_client() as client:
            try:
                return (await client.get(url)).is_success
            except httpx.TransportError:
                return False

    await until(succeeds, lambda: f"GET {url} succeeds; the log ends:\n{end_of(log)}")


def _wait_until_listening(process: psutil.Popen, port: int, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        with contextlib.suppress(psutil.TimeoutExpired):
            raise AssertionError(f"the read service exited with {process.wait(0.05)}:\n{end_of(log)}")
    raise AssertionError(f"the read service does not listen:\n{end_of(log)}")
