"""Load the days -> fold the last ones while the fleet sends -> sizes -> answers -> drains -> archive a month -> its answers."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import httpx

from deploy.stack.processes import Processes
from sql.archive.export import export_source
from sql.archive.manifest import read_manifest
from sql.archive.source import Source
from sql.maintenance.retention import drop_expired_months
from sql.maintenance.statistics import refresh_statistics
from sql.partitions import EXPIRY_MARGIN, midnight
from tests.bench.instruments.results import Result, with_medians
from tests.bench.measures.steady import live_delays
from tests.bench.measures.years.amount import ARCHIVED_DAYS, days_at_exact_cadence, days_with_jitter, require_disk
from tests.bench.measures.years.answers import (
    copy_to_a_year,
    delete_copies,
    measure_folded,
    measure_raw_day,
    measure_year,
)
from tests.bench.measures.years.drain_pairs import measure_drains
from tests.bench.measures.years.folding import measure_folding
from tests.bench.measures.years.size import archived_bytes, archived_result, folded_bytes, folded_result
from tests.bench.setup.harness import Harness
from tests.bench.setup.live_delays import LiveDelays
from tests.bench.setup.stored_day import DAY
from tests.bench.setup.time_lapse import Days, Loaded, fold_up_to, load, maintenance_session
from tests.support.database import Database
from tests.support.ledger import Topics
from tests.support.services import read_service, service_environment

HISTORIES: Final = ("meter_telemetry_history", "vehicle_telemetry_history")
MOST_RUNS: Final = 3
RETENTION: Final = timedelta(days=30)  # with which the first of the months is archived
Sizes = dict[str, float]


def measure(harness: Harness) -> Iterator[Result]:
    """All measures of the levels of history; exits with a message when the disk is too small."""
    harness = replace(harness, runs=min(harness.runs, MOST_RUNS))
    days = days_with_jitter(harness, datetime.now(UTC))
    require_disk(harness, days)
    delays = live_delays(harness)
    exact_folded, exact_archived = _exact_sizes(harness, days_at_exact_cadence(days), delays)
    with harness.empty_database() as database:
        loaded = load(harness, database, days, delays)
        yield _wal_result(days, loaded)
        yield from measure_folding(harness, database, days)
        asyncio.run(_fold_until_now(database))
        yield folded_result(asyncio.run(folded_bytes(database)), exact_folded, days)
        yield from with_medians(_answers(harness, database, days))
        yield from with_medians(measure_drains(harness, database, days))
        archive = harness.new_directory("archive")
        archived, details = _archive(harness, database, days, archive)
        yield archived_result(archived, exact_archived, details | delays.details())
        yield from with_medians(_answers_of_archive(harness, database, days, archive))


def _exact_sizes(harness: Harness, days: Days, delays: LiveDelays) -> tuple[Sizes, Sizes]:
    """Bytes a reading at exact cadence, folded and archived."""
    with harness.empty_database() as database:
        load(harness, database, days, delays)
        folded = asyncio.run(folded_bytes(database))
        archived = asyncio.run(_export(database, days, harness.new_directory("exact")))
    return folded, archived


async def _export(database: Database, days: Days, directory: Path) -> Sizes:
    async with maintenance_session(database) as connection:
        files = [
            await export_source(connection, Source.of_days(history, days.opens, days.closes), directory)
            for history in HISTORIES
        ]
    return archived_bytes(directory, files)


async def _fold_until_now(database: Database) -> None:
    """The days without readings that are left: what is drained later is not of a day to fold."""
    async with maintenance_session(database) as connection:
        await fold_up_to(connection, midnight(datetime.now(UTC)) - 2 * DAY)
        await refresh_statistics(connection, datetime.now(UTC))


def _wal_result(days: Days, loaded: Loaded) -> Result:
    return Result(
        measure="years_wal_bytes",
        value=round(loaded.written_wal_bytes + loaded.folded_wal_bytes, 2),
        unit="bytes/reading",
        details={
            "written": round(loaded.written_wal_bytes, 2),
            "rolled_up_and_folded": round(loaded.folded_wal_bytes, 2),
            "devices": 2 * days.vehicles,
            "days": days.count,
            "readings": days.readings,
            "loading_seconds": round(loaded.seconds, 1),
            "loading_readings_per_second": round(days.readings / loaded.seconds),
            **{f"loading_{name}": value for name, value in loaded.cpu.items()},
        },
    )


def _answers(harness: Harness, database: Database, days: Days) -> Iterator[Result]:
    with _service(harness, database) as client:
        for run in range(1, harness.runs + 1):
            yield from measure_folded(harness, client, days, run)
        asyncio.run(copy_to_a_year(database, days))
        for run in range(1, harness.runs + 1):
            yield measure_year(harness, client, days, run)
        asyncio.run(delete_copies(database, days))


def _answers_of_archive(harness: Harness, database: Database, days: Days, archive: Path) -> Iterator[Result]:
    with _service(harness, database, ARCHIVE_DIRECTORY=str(archive)) as client:
        for run in range(1, harness.runs + 1):
            yield measure_raw_day(harness, client, "years_archive_day", days, range(ARCHIVED_DAYS), run)


@contextmanager
def _service(harness: Harness, database: Database, **settings: str) -> Iterator[httpx.Client]:
    environment = service_environment(harness.stack, database, Topics("none", "none", 1)) | settings
    with Processes() as processes, read_service(processes, environment, harness.new_directory("api")) as client:
        yield client


def _archive(harness: Harness, database: Database, days: Days, root: Path) -> tuple[Sizes, Sizes]:
    """Archive and drop the first month; bytes a reading, and what it took."""
    boundary, started = days.opens + ARCHIVED_DAYS * DAY, time.monotonic()
    asyncio.run(_drop_months_before(database, boundary, root))
    seconds = time.monotonic() - started
    readings = ARCHIVED_DAYS * days.readings_a_day
    harness.log_progress(f"{readings:,} readings archived in {seconds:.0f} s")
    directory = root / f"{days.opens:%Y-%m}"
    details = {"readings": float(readings), "archiving_us_per_reading": round(seconds * 1e6 / readings, 3)}
    return archived_bytes(directory, read_manifest(directory).manifest.files), details


async def _drop_months_before(database: Database, instant: datetime, root: Path) -> None:
    async with maintenance_session(database) as connection:
        now = instant + RETENTION + EXPIRY_MARGIN
        await drop_expired_months(connection, now, RETENTION.days, root)
