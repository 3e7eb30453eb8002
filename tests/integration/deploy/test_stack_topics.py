"""The topics that `python -m deploy.stack --partitions N` creates from the settings, as used in docs/getting-started.md."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from deploy.stack.ports import free_port
from deploy.stack.processes import Processes, end_of
from deploy.stack.resolve import clear
from tests.support.repository import ROOT as REPOSITORY
from tests.support.waiting import until


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "stack"
    clear(tmp_path / "stack")


@pytest.mark.anyio
async def test_the_topics_exist_once_the_addresses_are_printed(
    directory: Path, processes: Processes, tmp_path: Path
) -> None:
    log = tmp_path / "stack.log"
    settings = {name: value for name, value in os.environ.items() if not name.startswith(("KAFKA_", "DATABASE_"))}
    ports = {"KAFKA_PORT": str(free_port()), "POSTGRES_PORT": str(free_port())}
    command = [sys.executable, "-m", "deploy.stack", "--directory", str(directory), "--partitions", "3"]
    named = {"KAFKA_METER_TOPIC": "meters", "KAFKA_REGISTER_TOPIC": "registers"}
    process = processes.start(command, log=log, env=settings | ports | named, cwd=REPOSITORY)

    async def printed() -> bool:
        assert process.poll() is None, end_of(log)
        return log.exists() and "DATABASE_URL=" in log.read_text()

    await until(printed, "the stack is ready", timeout=180)
    admin = AIOKafkaAdminClient(bootstrap_servers=f"127.0.0.1:{ports['KAFKA_PORT']}")
    await admin.start()
    try:
        found = {each["topic"]: len(each["partitions"]) for each in await admin.describe_topics()}
    finally:
        await admin.close()
    expected = {"meters", "registers", "vehicle-readings", "vehicle-meter-assignments", "efficiency-alerts"}
    assert {name: number for name, number in found.items() if name in expected} == dict.fromkeys(expected, 3)
    assert processes.stop(process, timeout=60) == 0
