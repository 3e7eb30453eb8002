"""Months that have had their time: made, filled, and looked at again."""

import asyncio
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg

from sql.maintenance.scheduler import HOURLY_SESSION
from tests.support.servers import Database
from tests.support.services import ROOT

JANUARY = datetime(2024, 1, 1, tzinfo=UTC)
MARCH = datetime(2024, 3, 1, tzinfo=UTC)
METERS = "meter_telemetry_history"
FILL = f"""
INSERT INTO {METERS} (meter_id, recorded_at, kwh_consumed_ac, voltage, derived)
SELECT 'METER-' || meter, $1::timestamptz + minute * interval '1 min 0.000001 s', random() * 10, 220 + random() * 20,
    CASE WHEN meter = 2 THEN true END
FROM generate_series(1, 3) AS meter, generate_series(1, $2::integer) AS minute"""
VEHICLES = """
INSERT INTO vehicle_telemetry_history (vehicle_id, recorded_at, kwh_delivered_dc, soc, battery_temp)
SELECT 'VEH-1', $1::timestamptz + minute * interval '1 min', random() * 10, random() * 100, -60 + random() * 210
FROM generate_series(1, $2::integer) AS minute"""
REGISTERS = """
INSERT INTO meter_register_history (meter_id, recorded_at, kwh_register, kwh_high, voltage)
SELECT 'METER-2', $1::timestamptz + minute * interval '1 min', minute / 7.0, CASE minute % 3 WHEN 0 THEN minute END, 230
FROM generate_series(1, $2::integer) AS minute"""
HISTORIES = (METERS, "vehicle_telemetry_history", "meter_register_history")


async def connect(database: Database) -> Any:
    """As maintenance does for what takes long."""
    return await asyncpg.connect(database.migrator_url, server_settings=HOURLY_SESSION)


async def fill(database: Database, minutes: int = 500) -> None:
    """Readings of every kind in January and in March of 2024, none in February."""
    await database.fetch("SELECT ensure_history_partitions($1, $2)", JANUARY, MARCH)
    for month in (JANUARY, MARCH):
        for statement in (FILL, VEHICLES, REGISTERS):
            await database.fetch(statement, month, minutes)


async def rows(database: Database, table: str, suffix: str = "", schema: str = "public") -> list[tuple[Any, ...]]:
    """Everything that a table, or its month, holds."""
    found = await database.fetch(f"SELECT * FROM {schema}.{table}{suffix} ORDER BY 1, 2, 3, 4, 5")
    return [tuple(row) for row in found]


@dataclass(frozen=True, slots=True)
class Command:
    """Runs `python -m sql ...` as the owner of the schema."""

    environment: dict[str, str]

    async def start(self, *arguments: str, **settings: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "sql", *arguments,
            env=self.environment | settings, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    async def tries(self, *arguments: str, **settings: str) -> tuple[int, str, str]:
        """Exit code, stdout, stderr."""
        process = await self.start(*arguments, **settings)
        printed, said = await process.communicate()
        assert b"Traceback" not in said, said.decode()
        return process.returncode or 0, printed.decode(), said.decode()

    async def does(self, *arguments: str, **settings: str) -> str:
        """stdout of a command that succeeds."""
        code, printed, said = await self.tries(*arguments, **settings)
        assert code == 0, printed + said
        return printed


def command(database: Database, environment: dict[str, str], archive: Path) -> Command:
    """`python -m sql` with a directory for archives."""
    return Command(environment | {"DATABASE_URL": database.migrator_url, "ARCHIVE_DIRECTORY": str(archive)})


def files(directory: Path) -> set[str]:
    """What lies below a directory."""
    return {os.fspath(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
