"""The same backlog drained into the database with history and into an empty one, in turn."""

import asyncio
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from tests.bench.instruments.drain_run import DrainRun, drain_backlog
from tests.bench.instruments.results import Result
from tests.bench.setup.backlog import Backlog, produce_backlog
from tests.bench.setup.harness import Harness
from tests.bench.setup.stored_day import MINUTES
from tests.bench.setup.time_lapse import Days, maintenance_session
from tests.support.database import Database

RECORDS: Final = 2_000_000
# History is folded, so all rows are those of the drain before. Live status is older than the backlog again.
FORGET: Final = (
    "TRUNCATE meter_telemetry_history, vehicle_telemetry_history, meter_energy_hourly, vehicle_energy_hourly, late_hours",
    "DELETE FROM kafka_offsets",
)
AGE_LIVE_STATUS: Final = (
    "UPDATE meter_live_status SET recorded_at = least(recorded_at, $1)",
    "UPDATE vehicle_live_status SET recorded_at = least(recorded_at, $1)",
)
VACUUM: Final = "VACUUM meter_live_status, vehicle_live_status, kafka_offsets"


def measure_drains(harness: Harness, database: Database, days: Days) -> Iterator[Result]:
    """Rate of the drain with history in place, and its ratio to that into an empty database, which alternates with it."""
    backlog = produce_backlog(harness, minutes_of_backlog(days), vehicles=days.vehicles)
    for run in range(1, harness.runs + 1):
        empty = None if run % 2 else _drain_into_empty(harness, backlog)
        asyncio.run(_forget(database, days.closes))
        history = drain_backlog(harness, backlog, database, holds_readings=True)
        yield _result(harness, run, history, empty or _drain_into_empty(harness, backlog))


def minutes_of_backlog(days: Days) -> int:
    """Minutes of a backlog of two million records, or of a day at most."""
    return min(MINUTES, RECORDS // (2 * days.vehicles))


def _drain_into_empty(harness: Harness, backlog: Backlog) -> DrainRun:
    with harness.empty_database() as empty:
        return drain_backlog(harness, backlog, empty)


async def _forget(database: Database, instant: datetime) -> None:
    async with maintenance_session(database) as connection:
        for statement in FORGET:
            await connection.execute(statement)
        for statement in AGE_LIVE_STATUS:
            await connection.execute(statement, instant)
        await connection.execute(VACUUM)


def _result(harness: Harness, run: int, history: DrainRun, empty: DrainRun) -> Result:
    ratio = round(history.rate / empty.rate, 4)
    harness.log_progress(
        f"years_drain, run {run}: {history.rate:,.0f} records/s, {ratio} of the rate into an empty database"
    )
    return Result(
        measure="years_drain",
        value=round(history.rate),
        unit="records/s",
        ratio=ratio,
        run=run,
        details={"empty_records_per_second": round(empty.rate), **history.cpu}
        | {f"empty_{name}": value for name, value in empty.cpu.items()},
    )
