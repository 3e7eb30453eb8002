"""Others against a backlog: start one, watch its rows from outside, count what it cost, check what is there at the end."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg

from deploy.stack.processes import Processes, end_of
from tests.bench.backlog import Backlog
from tests.bench.costs import Costs
from tests.bench.ground import Ground
from tests.support.database import Database
from tests.support.repository import ROOT
from tests.support.services import service_environment

LOOK_SECONDS: Final = 0.25
PATIENCE_SECONDS: Final = 600
GAVE_UP: Final = "Task is being killed"  # Kafka Connect itself goes on
# What others need of our tables: a time of update for those that give none, and UPDATE, without which an upsert is refused; Quix
# Streams asks for its schema to be created though it is there.
PREPARE: Final = """
GRANT UPDATE ON meter_telemetry_history, vehicle_telemetry_history TO energy_writer;
ALTER TABLE meter_live_status ALTER updated_at SET DEFAULT now();
ALTER TABLE vehicle_live_status ALTER updated_at SET DEFAULT now()"""
ROWS: Final = "SELECT (SELECT count(*) FROM meter_telemetry_history) + (SELECT count(*) FROM vehicle_telemetry_history)"
UP_TO_DATE: Final = """
SELECT (SELECT count(*) FROM meter_live_status WHERE recorded_at >= $1)
    + (SELECT count(*) FROM vehicle_live_status WHERE recorded_at >= $1)"""


@dataclass(frozen=True, slots=True)
class Other:
    """One of those we are compared with: `minutes` of the fleet wait for it, `beside` says with how many of our replicas.
    `command` gets a directory and an environment.
    """

    name: str
    minutes: int
    beside: int
    command: Callable[[Path, dict[str, str]], Sequence[str | Path]]


@dataclass(frozen=True, slots=True)
class Raced:
    """`rate` counts from the first rows seen to the last, history and live status: its start is not held against it."""

    rate: float
    cpu: dict[str, float]


def race(ground: Ground, backlog: Backlog, other: Other) -> Raced:
    """One run of one of the others into an empty database."""
    with ground.database() as database, Processes() as processes:
        asyncio.run(database.execute(PREPARE))
        asyncio.run(database.execute(f"GRANT CREATE ON DATABASE {database.name} TO energy_writer"))
        directory = ground.new_directory(other.name)
        environment = service_environment(ground.stack, database, backlog.topics)
        environment["KAFKA_GROUP_ID"] = (
            f"bench-{directory.name}-{database.name}"  # a new one, so that it reads all of it
        )
        log = directory / "log"
        process = processes.start(other.command(directory, environment), log=log, env=environment, cwd=ROOT)

        def check() -> None:
            if process.poll() is not None or GAVE_UP in log.read_text(errors="replace"):
                raise RuntimeError(f"{other.name} has ended:\n{end_of(log, 40)}")

        def costs() -> Costs:
            return Costs.now(ground.stack, [process])

        return asyncio.run(_watch(database, backlog, check, costs))


async def _watch(database: Database, backlog: Backlog, check: Callable[[], None], costs: Callable[[], Costs]) -> Raced:
    connection = await asyncpg.connect(database.migrator_url)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not (first := await connection.fetchval(ROWS)):
                check()
                await asyncio.sleep(LOOK_SECONDS)
            began, before = time.monotonic(), costs()
            while not await _complete(connection, backlog):
                check()
                await asyncio.sleep(LOOK_SECONDS)
        seconds, after = time.monotonic() - began, costs()
    finally:
        await connection.close()
    records = backlog.readings - first
    return Raced(records / seconds, after.per_record(before, records))


async def _complete(connection: "asyncpg.Connection[asyncpg.Record]", backlog: Backlog) -> bool:
    """Rows are counted only when live status is up to date: to count a million takes the server from whom it is counted for."""
    if await connection.fetchval(UP_TO_DATE, backlog.last_minute) < 2 * backlog.devices:
        return False
    return bool(await connection.fetchval(ROWS) >= backlog.readings)
