"""What the planner makes of the 24-hour query: index scans of the window's partitions, and of nothing else."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from sql.queries import queries
from tests.servers import Database

pytestmark = pytest.mark.anyio
DAY = timedelta(hours=24)
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


class Explaining:
    """A connection that runs queries for their plans."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.plans: list[dict[str, Any]] = []

    async def fetchrow(self, sql: str, *arguments: Any) -> None:
        explained = await self._connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", *arguments)
        self.plans.append(json.loads(explained)[0]["Plan"])


@pytest.fixture
async def midnight(database: Database) -> datetime:
    """The first instant of last month, with two and a half days of readings around it."""
    last_month = datetime.now(UTC).replace(day=1) - timedelta(days=1)
    middle = last_month.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    await database.fetch(FILL, middle - timedelta(hours=30), middle + timedelta(hours=30))
    await database.fetch(FILL_VEHICLES, middle - timedelta(hours=30), middle + timedelta(hours=30))
    await database.execute(
        "INSERT INTO vehicle_meter_assignments SELECT 'VEH-' || n, 'METER-' || n, '[2020-01-01,)', 'test' "
        "FROM generate_series(1, 30) AS n; ANALYZE"
    )
    return middle


@pytest.mark.parametrize("plan_cache_mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize(("hours_after", "partitions"), [(12, 2), (24, 1), (0, 1)])
async def test_24_hours_are_index_scans_of_at_most_two_partitions(
    database: Database, midnight: datetime, plan_cache_mode: str, hours_after: int, partitions: int
) -> None:
    end = midnight + timedelta(hours=hours_after)
    connection = await asyncpg.connect(database.reader_url, server_settings={"plan_cache_mode": plan_cache_mode})
    explaining = Explaining(connection)
    try:
        await queries.vehicle_performance(explaining, vehicle_id="VEH-7", window_start=end - DAY, window_end=end)
    finally:
        await connection.close()
    plan = explaining.plans[0]

    for history in ("meter_telemetry_history", "vehicle_telemetry_history"):
        scans = [scan for scan in _scans(plan) if scan["Relation Name"].startswith(history) and scan["Actual Loops"]]
        assert len(scans) == partitions, f"{history}: {[scan['Relation Name'] for scan in scans]}"
        assert {scan["Node Type"] for scan in scans} <= {"Index Scan", "Bitmap Heap Scan"}
        assert sum(scan["Actual Rows"] * scan["Actual Loops"] for scan in scans) == 1440
        assert all(scan.get("Rows Removed by Filter", 0) == 0 for scan in scans)


def _scans(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "Relation Name" in node:
        yield node
    for child in node.get("Plans", ()):
        yield from _scans(child)
