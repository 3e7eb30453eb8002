"""An alternative draining a backlog: start -> poll its rows from outside -> CPU time -> check that every row is there."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg

from deploy.stack.processes import Processes, end_of
from tests.bench.instruments.cpu_time import CpuTime
from tests.bench.setup.backlog import Backlog
from tests.bench.setup.harness import Harness
from tests.support.database import Database
from tests.support.repository import ROOT
from tests.support.services import service_environment

POLL_SECONDS: Final = 0.25
TIMEOUT_SECONDS: Final = 600
TASK_FAILED: Final = "Task is being killed"  # Kafka Connect logs this and its process keeps running
# What alternatives need beyond the rights of our consumer: a default for updated_at, UPDATE on history, without which PostgreSQL
# rejects an upsert, and CREATE, because Quix Streams creates its schema even though it exists.
GRANTS: Final = """
GRANT UPDATE ON meter_telemetry_history, vehicle_telemetry_history TO energy_writer;
ALTER TABLE meter_live_status ALTER updated_at SET DEFAULT now();
ALTER TABLE vehicle_live_status ALTER updated_at SET DEFAULT now()"""
HISTORY_ROWS: Final = (
    "SELECT (SELECT count(*) FROM meter_telemetry_history) + (SELECT count(*) FROM vehicle_telemetry_history)"
)
UP_TO_DATE_DEVICES: Final = """
SELECT (SELECT count(*) FROM meter_live_status WHERE recorded_at >= $1)
    + (SELECT count(*) FROM vehicle_live_status WHERE recorded_at >= $1)"""


@dataclass(frozen=True, slots=True)
class Alternative:
    """A program we are compared with.

    `minutes` is the size of its backlog, `compared_with` the number of our consumers that its ratio is to. `command` is called
    with a directory for files and the environment of the process.
    """

    name: str
    minutes: int
    compared_with: int
    command: Callable[[Path, dict[str, str]], Sequence[str | Path]]


@dataclass(frozen=True, slots=True)
class AlternativeRun:
    """One run. `rate` counts from the first rows seen to the last one in history and live status, without start-up time."""

    rate: float
    cpu: dict[str, float]


def run_alternative(harness: Harness, backlog: Backlog, alternative: Alternative) -> AlternativeRun:
    """Drain a backlog into an empty database with a new consumer group.

    Raises:
        RuntimeError: the process has ended or failed.
        TimeoutError: rows are missing after TIMEOUT_SECONDS.
    """
    with harness.empty_database() as database, Processes() as processes:
        asyncio.run(database.execute(GRANTS))
        asyncio.run(database.execute(f"GRANT CREATE ON DATABASE {database.name} TO energy_writer"))
        directory = harness.new_directory(alternative.name)
        environment = service_environment(harness.stack, database, backlog.topics)
        environment["KAFKA_GROUP_ID"] = f"bench-{directory.name}-{database.name}"
        log = directory / "log"
        process = processes.start(alternative.command(directory, environment), log=log, env=environment, cwd=ROOT)

        def check_running() -> None:
            if process.poll() is not None or TASK_FAILED in log.read_text(errors="replace"):
                raise RuntimeError(f"{alternative.name} has ended:\n{end_of(log, 40)}")

        def cpu_time() -> CpuTime:
            return CpuTime.now(harness.stack, [process])

        return asyncio.run(_poll_until_drained(database, backlog, check_running, cpu_time))


async def _poll_until_drained(
    database: Database, backlog: Backlog, check_running: Callable[[], None], cpu_time: Callable[[], CpuTime]
) -> AlternativeRun:
    connection = await asyncpg.connect(database.migrator_url)
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while not (first := await connection.fetchval(HISTORY_ROWS)):
                check_running()
                await asyncio.sleep(POLL_SECONDS)
            started, before = time.monotonic(), cpu_time()
            while not await _is_drained(connection, backlog):
                check_running()
                await asyncio.sleep(POLL_SECONDS)
        seconds, after = time.monotonic() - started, cpu_time()
    finally:
        await connection.close()
    records = backlog.readings - first
    return AlternativeRun(records / seconds, after.per_record(before, records))


async def _is_drained(connection: "asyncpg.Connection[asyncpg.Record]", backlog: Backlog) -> bool:
    """Whether every device is up to date and every reading is in history.

    History is counted only when live status is up to date: counting a million rows slows down the alternative.
    """
    if await connection.fetchval(UP_TO_DATE_DEVICES, backlog.last_minute) < 2 * backlog.vehicles:
        return False
    return bool(await connection.fetchval(HISTORY_ROWS) >= backlog.readings)
