"""The command `python -m deploy.stack`: its output, its data and processes after it ends, its error messages."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from deploy.stack.ports import free_port
from deploy.stack.resolve import ROOT, clear
from deploy.stack.servers import Servers
from deploy.stack.topics import create_topics
from tests.support.repository import ROOT as REPOSITORY
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


@dataclass(frozen=True, slots=True)
class Stack:
    """A running `python -m deploy.stack` and its servers."""

    process: psutil.Popen
    kafka: str
    database: str
    servers: list[psutil.Process]

    def end(self, number: signal.Signals) -> int:
        """Sends a signal and returns the exit code."""
        self.process.send_signal(number)
        return int(self.process.wait(60))

    async def until_servers_exited(self) -> None:
        async def exited() -> bool:
            return not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in self.servers)

        await until(exited, f"the servers {self.servers} have exited")


class Starter:
    """Starts the command with its own ports and directory."""

    def __init__(self, exits: ExitStack, directory: Path) -> None:
        self._exits = exits
        self.directory = directory
        self.ports = {"KAFKA_PORT": str(free_port()), "POSTGRES_PORT": str(free_port())}

    def popen(self, directory: Path | None, environment: dict[str, str]) -> psutil.Popen:
        settings = {name: value for name, value in os.environ.items() if not name.startswith(("KAFKA_", "DATABASE_"))}
        process = psutil.Popen(
            [sys.executable, "-m", "deploy.stack", "--directory", str(directory or self.directory)],
            env=settings | self.ports | environment,
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._exits.callback(_end, process)
        return process

    def start(self, **environment: str) -> Stack:
        process = self.popen(None, environment)
        printed = dict(process.stdout.readline().strip().split("=", 1) for _ in range(2))
        assert list(printed) == ["KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL"]
        return Stack(
            process, printed["KAFKA_BOOTSTRAP_SERVERS"], printed["DATABASE_URL"], process.children(recursive=True)
        )

    def fail(self, directory: Path | None = None, **environment: str) -> str:
        """Starts the command, expects it to fail, and returns its error message."""
        process = self.popen(directory, environment)
        stdout, stderr = process.communicate(timeout=60)
        assert (process.returncode, stdout) == (1, ""), stderr
        assert "Traceback" not in stderr
        return str(stderr)


@pytest.fixture
def starter(tmp_path: Path) -> Iterator[Starter]:
    directory = ROOT / f"tests-stack-{os.getpid()}"
    with ExitStack() as exits:
        exits.callback(directory.with_name(f"{directory.name}.lock").unlink, missing_ok=True)
        exits.callback(clear, directory)
        yield Starter(exits, directory)


def _end(process: psutil.Popen) -> None:
    if process.poll() is None:
        process.terminate()
        process.wait(60)
    process.stdout.close()
    process.stderr.close()


async def test_both_servers_keep_their_data_over_a_restart(starter: Starter) -> None:
    first = starter.start()
    assert {each.name() for each in first.servers} >= {"postgres", "java"}
    await _write_data(first)
    assert first.end(signal.SIGTERM) == 0
    await first.until_servers_exited()

    second = starter.start()
    assert (second.kafka, second.database) == (first.kafka, first.database)
    await _check_data(second)
    assert second.end(signal.SIGINT) == 0
    await second.until_servers_exited()


async def test_a_crash_leaves_no_orphans_and_the_next_start_recovers(starter: Starter) -> None:
    first = starter.start()
    await _write_data(first)
    first.process.kill()
    await first.until_servers_exited()

    second = starter.start()
    await _check_data(second)


async def test_a_second_start_fails_with_the_reason(starter: Starter, tmp_path: Path) -> None:
    starter.start()
    assert "another run uses" in starter.fail()
    taken = starter.fail(tmp_path / "other")
    assert "POSTGRES_PORT" in taken
    assert starter.ports["POSTGRES_PORT"] in taken


async def test_servers_named_by_settings_are_used_and_none_are_started(stack: Servers, starter: Starter) -> None:
    named = starter.start(KAFKA_BOOTSTRAP_SERVERS=stack.kafka_bootstrap_servers, DATABASE_URL=stack.database_url)
    assert (named.kafka, named.database) == (stack.kafka_bootstrap_servers, stack.database_url)
    assert named.servers == []


async def _write_data(stack: Stack) -> None:
    connection = await asyncpg.connect(stack.database)
    await connection.execute("CREATE TABLE trace AS SELECT 42 AS number")
    await connection.close()
    await create_topics(stack.kafka, ["trace"], partitions=1)
    async with AIOKafkaProducer(bootstrap_servers=stack.kafka, acks="all") as producer:
        await producer.send_and_wait("trace", b"42")


async def _check_data(stack: Stack) -> None:
    connection = await asyncpg.connect(stack.database)
    assert await connection.fetchval("SELECT number FROM trace") == 42
    await connection.close()
    async with AIOKafkaConsumer("trace", bootstrap_servers=stack.kafka, auto_offset_reset="earliest") as consumer:
        record = await consumer.getone()
    assert record.value == b"42"
