"""Query plans of the read service: index scans of the partitions of the window, and nothing else."""

import asyncio
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import asyncpg
import pytest

from deploy.stack.servers import Servers
from sql.queries import queries
from tests.support.database import Database, new_database
from tests.support.database_rows import roll_up

pytestmark = pytest.mark.anyio
DAY, HOUR, HALF = timedelta(hours=24), timedelta(hours=1), timedelta(minutes=30)
SIDES = ("meter", "vehicle")
Mode = Literal["force_custom_plan", "force_generic_plan"]
BOTH_MODES = pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
FILL = """
INSERT INTO meter_telemetry_history (meter_id, recorded_at, kwh_consumed_ac, voltage)
SELECT 'METER-' || device, minute, 1, 240
FROM generate_series(1, 30) AS device, generate_series($1::timestamptz, $2, '1 minute') AS minute;
"""
FILL_VEHICLES = """
INSERT INTO vehicle_telemetry_history (vehicle_id, recorded_at, kwh_delivered_dc, soc, battery_temp)
SELECT 'VEH-' || device, minute, 0.9, 50, 20
FROM generate_series(1, 30) AS device, generate_series($1::timestamptz, $2, '1 minute') AS minute;
"""
# Hours of other devices, so that the tables are large enough for an index.
FILL_HOURS = """
INSERT INTO meter_energy_hourly (meter_id, hour, kwh_consumed_ac, readings)
SELECT 'OTHER-' || device, hour, 1, 60
FROM generate_series(1, 500) AS device, generate_series($1::timestamptz, $2, '1 hour') AS hour;
"""
FILL_VEHICLE_HOURS = """
INSERT INTO vehicle_energy_hourly
    (vehicle_id, hour, kwh_delivered_dc, battery_temp_sum, battery_temp_max, soc_min, soc_max, readings)
SELECT 'OTHER-' || device, hour, 1, 1500, 25, 50, 51, 60
FROM generate_series(1, 500) AS device, generate_series($1::timestamptz, $2, '1 hour') AS hour;
"""
# Five are open: the oldest of each of five vehicles.
FILL_FAULTS = """
INSERT INTO efficiency_faults
    (fault_id, vehicle_id, meter_ids, opened_at, opened_ratio, opened_ac_kwh, opened_dc_kwh, lowest_ratio,
    closed_at, closed_ratio)
SELECT number, 'VEH-' || number % 200, '{}', now(), 80, 10, 8, 79,
    CASE WHEN number NOT IN (2, 3, 60001, 60004, 60005) THEN now() END,
    CASE WHEN number NOT IN (2, 3, 60001, 60004, 60005) THEN 90 END
FROM generate_series(1, 100000) AS number
"""


class Explaining:
    """Stands in for a connection, and keeps the plan of the query it executes.

    The query is prepared first: EXPLAIN of the plain text would plan for these arguments, regardless of plan_cache_mode.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.plan: dict[str, Any] = {}

    async def fetch(self, sql: str, *arguments: Any) -> list[Any]:
        literals = ", ".join([await self._literal(each) for each in arguments])
        await self._connection.execute(f"PREPARE asked AS {sql}")
        explained = await self._connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE asked({literals})")
        self.plan = json.loads(explained)[0]["Plan"]
        return []

    async def _literal(self, argument: Any) -> str:
        return str(await self._connection.fetchval("SELECT quote_nullable($1)", _text(argument)))


def _text(argument: Any) -> str | None:
    if argument is None:
        return None
    if isinstance(argument, list):
        return "{" + ",".join(f'"{_text(each)}"' for each in argument) + "}"
    return str(argument)


async def explain(database: Database, mode: Mode, query: Any, **arguments: Any) -> dict[str, Any]:
    """The executed plan of a named query, custom (for these arguments) or generic."""
    connection = await asyncpg.connect(database.reader_url, server_settings={"plan_cache_mode": mode})
    explaining = Explaining(connection)
    try:
        assert [row async for row in query(explaining, **arguments)] == []
        used = await connection.fetchrow(
            "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE name = 'asked'"
        )
        assert used
        assert tuple(used) == ((1, 0) if mode == "force_generic_plan" else (0, 1))
    finally:
        await connection.close()
    return explaining.plan


def _scans(node: dict[str, Any], table: str) -> Iterator[dict[str, Any]]:
    """The executed scans of a table's partitions."""
    if node.get("Relation Name", "").startswith(table) and node["Actual Loops"]:
        yield node
    for child in node.get("Plans", ()):
        yield from _scans(child, table)


def _rows(scans: list[dict[str, Any]]) -> int:
    total: float = sum(scan["Actual Rows"] * scan["Actual Loops"] for scan in scans)
    return round(total)


def check(plan: dict[str, Any], table: str, *, partitions: int, rows: int) -> None:
    """Asserts the number of partitions scanned by index, and that no row was read in vain."""
    scans = list(_scans(plan, table))
    assert len(scans) == partitions, f"{table}: {[scan['Relation Name'] for scan in scans]}"
    assert {scan["Node Type"] for scan in scans} <= {"Index Scan", "Index Only Scan", "Bitmap Heap Scan"}
    assert _rows(scans) == rows
    assert all(scan.get("Rows Removed by Filter", 0) == 0 for scan in scans)


def _midnight() -> datetime:
    last_month = datetime.now(UTC).replace(day=1) - timedelta(days=1)
    return last_month.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


@pytest.fixture(scope="module")
def filled(stack: Servers, template: Database) -> Iterator[Database]:
    """30 devices with 30 hours of readings before and after `midnight`."""
    with new_database(stack, f"energy_plans_{os.getpid()}", template) as created:
        asyncio.run(_fill(created, _midnight()))
        yield created


async def _fill(database: Database, middle: datetime) -> None:
    for statement in (FILL, FILL_VEHICLES, FILL_HOURS, FILL_VEHICLE_HOURS):
        await database.fetch(statement, middle - 30 * HOUR, middle + 30 * HOUR)
    await database.execute(
        "INSERT INTO vehicle_meter_assignments SELECT 'VEH-' || n, 'METER-' || n, '[2020-01-01,)', 'test' "
        "FROM generate_series(1, 30) AS n; "
        "INSERT INTO meter_live_status SELECT meter_id, 1, 240, now(), now() FROM vehicle_meter_assignments; "
        "INSERT INTO vehicle_live_status SELECT vehicle_id, 50, 0.9, 20, now(), now() FROM vehicle_meter_assignments; "
        "ANALYZE"
    )


@pytest.fixture
def database(stack: Servers, filled: Database) -> Iterator[Database]:
    with new_database(stack, f"{filled.name}_copy", filled) as created:
        yield created


@pytest.fixture
def midnight() -> datetime:
    """The first instant of last month."""
    return _midnight()


async def energy(database: Database, mode: Mode, opens: datetime, closes: datetime) -> dict[str, Any]:
    return await explain(database, mode, queries.energy_of, vehicle_ids=["VEH-7"], opens=[opens], closes=[closes])


@BOTH_MODES
@pytest.mark.parametrize(("hours_after", "partitions"), [(12, 2), (24, 1), (0, 1)])
async def test_24_hours_are_index_scans_of_at_most_two_partitions(
    database: Database, midnight: datetime, mode: Mode, hours_after: int, partitions: int
) -> None:
    end = midnight + timedelta(hours=hours_after)
    plan = await energy(database, mode, end - DAY, end)
    for side in SIDES:
        check(plan, f"{side}_telemetry_history", partitions=partitions, rows=1440)
        check(plan, f"{side}_energy_hourly", partitions=0, rows=0)


@BOTH_MODES
async def test_below_the_watermark_hours_are_read_and_history_only_at_the_edges(
    database: Database, midnight: datetime, mode: Mode
) -> None:
    await roll_up(database, midnight + 30 * HOUR)
    end = midnight + 12 * HOUR + HALF
    plan = await energy(database, mode, end - DAY, end)
    for side in SIDES:
        check(plan, f"{side}_energy_hourly", partitions=2, rows=23)
        check(plan, f"{side}_telemetry_history", partitions=2, rows=60)


@BOTH_MODES
async def test_above_the_watermark_history_is_read(database: Database, midnight: datetime, mode: Mode) -> None:
    await roll_up(database, midnight + 10 * HOUR)
    end = midnight + 12 * HOUR + HALF
    plan = await energy(database, mode, end - DAY, end)
    for side in SIDES:
        check(plan, f"{side}_energy_hourly", partitions=2, rows=21)
        check(plan, f"{side}_telemetry_history", partitions=2, rows=30 + 150)


@BOTH_MODES
async def test_only_late_hours_are_read_from_history(database: Database, midnight: datetime, mode: Mode) -> None:
    await roll_up(database, midnight + 30 * HOUR)
    marked = [
        ("vehicle", "VEH-7", 2 * HOUR),
        ("vehicle", "VEH-7", 2 * HOUR),
        ("vehicle", "VEH-8", HOUR),
        ("meter", "", HOUR),
    ]
    for side, device, after in marked:
        await database.fetch(
            "INSERT INTO late_hours (side, device_id, hour) VALUES ($1, $2, $3)", side, device, midnight + after
        )
    plan = await energy(database, mode, midnight, midnight + DAY)
    for side in SIDES:
        check(plan, f"{side}_telemetry_history", partitions=1, rows=60)


@BOTH_MODES
async def test_many_periods_read_only_their_own_rows(database: Database, midnight: datetime, mode: Mode) -> None:
    await roll_up(database, midnight + 30 * HOUR)
    hours = [midnight + number * HOUR + HALF for number in range(24)]
    for query, device in ((queries.energy_of, "VEH-7"), (queries.meter_energy_of, "METER-7")):
        parameter = {"VEH-7": "vehicle_ids", "METER-7": "meter_ids"}[device]
        plan = await explain(
            database, mode, query, **{parameter: [device] * 24}, opens=hours, closes=[hour + HOUR for hour in hours]
        )
        check(plan, "meter_telemetry_history", partitions=1, rows=1440)


@BOTH_MODES
@pytest.mark.parametrize("statistics", ["ANALYZE", "VACUUM ANALYZE"])
async def test_a_page_of_readings_reads_no_more_rows_than_the_page(
    database: Database, midnight: datetime, mode: Mode, statistics: str
) -> None:
    """The end of the page is found in the index: along it, or in the whole range where that costs no visit to the table."""
    await database.execute(statistics)
    for side, device in (("vehicle", "VEH-7"), ("meter", "METER-7")):
        plan = await explain(
            database, mode, getattr(queries, f"{side}_readings"), **{f"{side}_id": device},
            opens=midnight - HOUR, closes=midnight + DAY, row_limit=101,
        )  # fmt: skip
        scans = list(_scans(plan, f"{side}_telemetry_history"))
        finding = [scan for scan in scans if scan["Node Type"] == "Index Only Scan"]
        reading = [scan for scan in scans if scan not in finding]
        assert {scan["Node Type"] for scan in reading} <= {"Index Scan", "Bitmap Heap Scan"}
        assert (len(finding), len(reading)) == (2, 2), "of a partition each"
        assert _rows(reading) == 101
        assert _rows(finding) in (101, 60 + 1440)
        assert all(scan.get("Rows Removed by Filter", 0) == 0 for scan in scans)


@pytest.fixture(scope="module")
def folded_database(stack: Servers, filled: Database) -> Iterator[Database]:
    """The same devices with 45 folded days each, up to the middle of last month. Nothing is written to it."""
    with new_database(stack, f"energy_folded_plans_{os.getpid()}", filled) as created:
        asyncio.run(_fold(created, _midnight()))
        yield created


async def _fold(database: Database, midnight: datetime) -> None:
    await roll_up(database, midnight + 15 * DAY)
    fold = "SELECT fold_{0}_day({0}_id, $1) FROM {0}_live_status"
    fill = (
        "INSERT INTO {0}_days SELECT copy.* FROM {0}_days AS folded "
        "CROSS JOIN generate_series($1::date - 30, $1::date + 14, '1 day') AS other "
        "CROSS JOIN LATERAL jsonb_populate_record(folded, jsonb_build_object('day', other::date)) AS copy "
        "WHERE other <> folded.day"
    )
    for side in SIDES:
        await database.fetch(fold.format(side), midnight.date())
        await database.fetch(fill.format(side), midnight.date())
    await database.fetch("UPDATE rollup_state SET folding_before = $1, folded_before = $1", midnight + 15 * DAY)
    await database.execute("VACUUM ANALYZE")


@pytest.fixture
def folded(midnight: datetime) -> datetime:
    """The end of the last folded day but one."""
    return midnight + 14 * DAY


@BOTH_MODES
async def test_energy_of_folded_days_touches_the_days_of_one_device_only(
    folded_database: Database, folded: datetime, mode: Mode
) -> None:
    """24 hours touch two days: once for their hours, and each once more for the part of an hour at its end."""
    end = folded + 12 * HOUR + HALF
    plan = await energy(folded_database, mode, end - DAY, end)
    for side in SIDES:
        check(plan, f"{side}_days", partitions=1 + 1, rows=2 + 2)
        for rows_of in ("telemetry_history", "energy_hourly"):  # of the same month, if their partition is there
            check(plan, f"{side}_{rows_of}", partitions=1, rows=0)


@BOTH_MODES
async def test_late_readings_are_compared_with_the_days_of_their_device_only(
    folded_database: Database, folded: datetime, mode: Mode
) -> None:
    times = [folded + HOUR, folded + 2 * HOUR, folded - DAY]
    two = {"times": times, "kwhs": [0.5] * 3}
    meters = {"ids": ["METER-7"] * 3, "voltages": [240.0] * 3}
    vehicles = {"ids": ["VEH-7"] * 3, "socs": [50.0] * 3, "temperatures": [20.0] * 3}
    plan = await explain(folded_database, mode, queries.match_late_meter_readings, **two, **meters)
    check(plan, "meter_days", partitions=1, rows=2)
    plan = await explain(folded_database, mode, queries.match_late_vehicle_readings, **two, **vehicles)
    check(plan, "vehicle_days", partitions=1, rows=2)


@BOTH_MODES
async def test_whole_hours_of_folded_days_decode_no_readings(
    folded_database: Database, folded: datetime, mode: Mode
) -> None:
    plan = await energy(folded_database, mode, folded - DAY, folded + 5 * HOUR)
    for side in SIDES:
        check(plan, f"{side}_days", partitions=1, rows=2)


@BOTH_MODES
async def test_a_page_of_a_folded_month_decodes_the_days_of_the_page_only(
    folded_database: Database, folded: datetime, mode: Mode
) -> None:
    for side, device in (("vehicle", "VEH-7"), ("meter", "METER-7")):
        plan = await explain(
            folded_database, mode, getattr(queries, f"{side}_readings"), **{f"{side}_id": device},
            opens=folded - 20 * DAY, closes=folded, row_limit=101,
        )  # fmt: skip
        decoded = [scan for scan in _scans(plan, f"{side}_days") if scan["Alias"].startswith("folded")]
        assert sum(scan["Actual Rows"] * scan["Actual Loops"] for scan in decoded) == 2, (
            "that of `opens` and a whole one"
        )
        check(plan, f"{side}_telemetry_history", partitions=0, rows=0)


@pytest.fixture(scope="module")
def faults(stack: Servers, template: Database) -> Iterator[Database]:
    """100,000 faults of 200 vehicles. Five are open: the oldest of each of five vehicles. Nothing is written to it."""
    with new_database(stack, f"energy_plans_of_faults_{os.getpid()}", template) as created:
        asyncio.run(created.execute(FILL_FAULTS))
        asyncio.run(created.execute("VACUUM ANALYZE efficiency_faults"))
        yield created


@BOTH_MODES
@pytest.mark.parametrize(
    ("state", "vehicle", "before", "rows"),
    [
        ("open", None, None, 5),
        ("open", None, 50_000, 2),
        ("open", "VEH-2", None, 1),
        ("closed", None, None, 101),
        ("closed", None, 50_000, 101),
        ("closed", "VEH-2", None, 101),
        ("all", None, None, 101),
        ("all", "VEH-2", 50_000, 101),
    ],
)
async def test_a_page_of_faults_reads_no_more_than_the_page(
    faults: Database, mode: Mode, state: str, vehicle: str | None, before: int | None, rows: int
) -> None:
    plan = await explain(
        faults, mode, queries.list_faults, state=state, vehicle_id=vehicle, before=before, row_limit=101
    )
    scans = list(_scans(plan, "efficiency_faults"))
    assert sum(scan["Actual Rows"] for scan in scans) == rows
    assert sum(scan.get("Rows Removed by Filter", 0) for scan in scans) <= 501, "of one vehicle at most"
    assert {scan["Node Type"] for scan in scans} <= {"Index Scan", "Bitmap Heap Scan"}
