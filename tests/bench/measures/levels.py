"""The levels of history on a small scale: bytes of folded days and archive, and the cost of folding, merging and archiving."""

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any, Final

import psutil
from pydantic import SecretStr

from deploy.simulator.charging import state_at
from deploy.simulator.fleet import DAY_MINUTES, Fleet, Vehicle, vehicle
from sql.archive.export import export_source
from sql.archive.source import Source
from sql.connection import connect
from sql.maintenance.folding import SIDES
from sql.maintenance.merging import merge_late_readings
from sql.maintenance.scheduler import HOURLY_SESSION
from sql.partitions import ensure_partitions
from sql.queries import queries
from tests.bench.instruments.cpu_time import CpuTime
from tests.bench.instruments.results import Result, with_medians
from tests.bench.measures.steady import live_delays
from tests.bench.measures.years.size import archived_bytes
from tests.bench.setup.harness import Harness
from tests.bench.setup.live_delays import LiveDelays
from tests.support.database import Database, drop_rows

VEHICLES: Final = 10  # for a month, and as many meters, each of which sends intervals and registers
JITTER_MS: Final = 500  # from the earliest to the latest
LATE_HOUR: Final = 9  # of each day: its readings come when the day is folded
MINUTE: Final = timedelta(minutes=1)
DAY: Final = timedelta(days=1)
COLUMNS: Final = {
    "meter": "recorded_at ingested_at kwh_consumed_ac voltage meter_id",
    "vehicle": "recorded_at ingested_at kwh_delivered_dc soc battery_temp vehicle_id",
    "register": "recorded_at ingested_at kwh_register voltage meter_id",
}
LIVE_STATUS: Final = """
WITH meters AS (
    INSERT INTO meter_live_status SELECT DISTINCT meter_id, 0, 0, $1::timestamptz, now() FROM meter_telemetry_history
)
INSERT INTO vehicle_live_status SELECT DISTINCT vehicle_id, 0, 0, 0, $1::timestamptz, now() FROM vehicle_telemetry_history"""


@dataclass(frozen=True, slots=True)
class Month:
    """A month of so many vehicles, whose instants jitter by up to `jitter_ms` and whose readings arrive with these delays."""

    vehicles: int
    jitter_ms: int
    delays: LiveDelays


def measure(harness: Harness) -> Iterator[Result]:
    """Bytes a reading of a folded month and of its archive, with jitter and at exact cadence, and what they cost."""
    yield from with_medians(_runs(harness))


def _runs(harness: Harness) -> Iterator[Result]:
    vehicles, delays = harness.scaled(VEHICLES, minimum=2), live_delays(harness)
    for run in range(1, harness.runs + 1):
        for suffix, jitter_ms in (("", JITTER_MS), ("_exact", 0)):
            with harness.empty_database() as database:
                directory = harness.new_directory("levels")
                for result in asyncio.run(_measure(harness, database, Month(vehicles, jitter_ms, delays), directory)):
                    yield Result(
                        measure=f"levels_{result.measure}{suffix}",
                        value=round(result.value, 3),
                        unit=result.unit,
                        details=result.details,
                        run=run,
                    )


async def _measure(harness: Harness, database: Database, month: Month, directory: Path) -> list[Result]:
    connection = await connect(SecretStr(database.migrator_url), server_settings=HOURLY_SESSION)
    closes = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    opens = (closes - DAY).replace(day=1)
    days = [opens + number * DAY for number in range((closes - opens).days)]
    try:
        await _store(connection, days, month)
        folding = await _fold(harness, connection, days, month.vehicles)
        merging = await _merge(harness, connection, month.vehicles * len(days))
        return [folding, merging, *await _archive(harness, connection, (opens, closes), month, directory)]
    finally:
        await connection.close()


async def _store(connection: Any, days: list[datetime], month: Month) -> None:
    """Days as rows; those of one hour of each day are late readings."""
    await drop_rows(connection)
    await queries.begin_folding(connection, instant=days[0])
    await ensure_partitions(connection, datetime.now(UTC), 400)
    for opens, number in product(days, range(1, month.vehicles + 1)):
        late = opens + timedelta(hours=LATE_HOUR), opens + timedelta(hours=LATE_HOUR + 1)
        for side, rows in _readings(vehicle(Fleet(), number), opens, month).items():
            columns = COLUMNS[side].split()
            table = "meter_register_history" if side == "register" else f"{side}_telemetry_history"
            for name, chosen in (
                (table, [row for row in rows if not late[0] <= row[0] < late[1]]),
                (f"{side}_late_readings", [row for row in rows if late[0] <= row[0] < late[1]]),
            ):
                await connection.copy_records_to_table(name, records=chosen, columns=columns)
    await connection.execute(LIVE_STATUS, days[0])
    await connection.execute("ANALYZE")


def _readings(one: Vehicle, opens: datetime, month: Month) -> dict[str, list[tuple[Any, ...]]]:
    """A day's readings of a vehicle, its meter, and the register of that meter."""
    chance, register = random.Random(f"{one.number} {opens}"), 1000.0 * opens.day
    rows: dict[str, list[tuple[Any, ...]]] = {side: [] for side in COLUMNS}
    first, half = int(opens.timestamp()) // 60, month.jitter_ms // 2
    for minute in range(DAY_MINUTES):
        state = state_at(one, first + minute)
        register = round(register + state.ac_kwh, 6)
        phase = min(max(one.phase_ms + chance.randint(-half, half), 0), 59_999)
        at = opens + minute * MINUTE + timedelta(milliseconds=phase)
        for side, values in (
            ("meter", (state.ac_kwh, state.voltage, one.meter_id)),
            ("vehicle", (state.dc_kwh, state.soc, state.battery_temp, one.vehicle_id)),
            ("register", (register, state.voltage, one.meter_id)),
        ):
            arrived = at + timedelta(milliseconds=month.delays.at(chance.random()))
            rows[side].append((at, arrived, *values))
    return rows


async def _fold(harness: Harness, connection: Any, days: list[datetime], vehicles: int) -> Result:
    """Processor microseconds of PostgreSQL for a reading that is folded."""
    before, readings = CpuTime.now(harness.stack, ()), 0
    for day, side in product(days, SIDES):
        readings += (await side.fold(connection, day=day.date(), after="", row_limit=vehicles))["readings"]
    spent = CpuTime.now(harness.stack, ()).per_record(before, readings)
    await queries.move_folding_before(connection, instant=days[-1] + DAY)
    await queries.move_folded_before(connection, instant=days[-1] + DAY)
    return Result(measure="folding", value=spent.get("postgres_cpu_us_per_record", 0), unit="us")


async def _merge(harness: Harness, connection: Any, vehicle_days: int) -> Result:
    """Processor milliseconds of PostgreSQL for the day of a device, into which an hour of late readings is merged."""
    before = CpuTime.now(harness.stack, ())
    merged = await merge_late_readings(connection, since=datetime(2000, 1, 1, tzinfo=UTC), seconds=3600)
    assert merged == 3 * vehicle_days
    spent = CpuTime.now(harness.stack, ()).per_record(before, merged)
    return Result(measure="merging", value=spent.get("postgres_cpu_us_per_record", 0) / 1000, unit="ms")


async def _archive(
    harness: Harness, connection: Any, period: tuple[datetime, datetime], month: Month, directory: Path
) -> list[Result]:
    """Bytes a reading of folded days and of the archive, and processor microseconds for a reading that is archived."""
    await connection.execute("VACUUM FULL ANALYZE meter_days, vehicle_days")
    folded, archived, files = {}, {}, []
    ours = psutil.Process()
    before = CpuTime.now(harness.stack, (ours,))
    for side in ("meter", "vehicle"):
        source = Source.of_days(f"{side}_telemetry_history", *period)
        file = await export_source(connection, source, directory)
        files.append(file)
        archived[side] = round(file.bytes / file.contents.readings, 2)
        partition = f"{side}_days_y{period[0]:%Ym%m}"
        size = await connection.fetchval("SELECT pg_total_relation_size($1::regclass)", partition)
        folded[side] = round(size / file.contents.readings, 2)
    spent = CpuTime.now(harness.stack, (ours,)).per_record(before, sum(file.contents.readings for file in files))
    columns = {name: size for name, size in archived_bytes(directory, files).items() if name in ("instants", "delays")}
    details = columns | month.delays.details()
    return [
        Result(measure="folded_bytes", value=mean(folded.values()), unit="B", details=folded | month.delays.details()),
        Result(measure="archive_bytes", value=mean(archived.values()), unit="B", details=archived | details),
        Result(measure="archiving", value=sum(spent.values()), unit="us", details=spent),
    ]
