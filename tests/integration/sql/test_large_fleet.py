"""Requests about a large fleet: they read their own rows only, and the order of a ranking is that of its values."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import asyncpg
import pytest
from pydantic import SecretStr

from sql.analytics.fleet import HISTOGRAM_BOUNDS
from sql.connection import READER_SETTINGS
from sql.maintenance.fleet_totals import store_fleet_totals
from sql.maintenance.scheduler import TASKS
from sql.queries import queries
from sql.settings import MaintainSettings
from tests.support.database import Database

pytestmark = pytest.mark.anyio
VALUES = {"efficiency": "ratio", "energyAc": "ac", "energyDc": "dc_kwh", "temperature": "average_battery_temp"}
EVALUATED = "vehicle_efficiency"
STATUSES = (None, "healthy", "faulty", "insufficient_data", "unassigned")
# A third of the vehicles has no energy, a few have equal values, and some batteries are below zero.
FILL = """
INSERT INTO vehicle_efficiency (
    vehicle_id, window_end, assigned_seconds, ac_kwh, dc_kwh, dc_kwh_assigned, ac_points, dc_points, dc_points_assigned,
    average_battery_temp, ratio, dc_coverage, status, reason
)
SELECT 'VEH-' || number, now(), CASE WHEN number % 11 > 0 THEN 86400 END, ac, ac * ratio / 100, 0, 0, 0, 0,
    CASE WHEN number % 13 > 0 THEN (number * 37 % 400) / 10.0 - 10 END, CASE WHEN ac > 0 AND number % 11 > 0 THEN ratio END, 1,
    CASE WHEN number % 11 = 0 THEN 'unassigned' WHEN ac = 0 THEN 'insufficient_data' WHEN ratio < 85 THEN 'faulty' ELSE 'healthy'
    END, 'why'
FROM (
    SELECT number, CASE WHEN number % 3 = 0 THEN 0 ELSE (number * 7919 % 5000) / 100.0 END AS ac,
        CASE WHEN number % 17 = 0 THEN 90.05 ELSE 80 + (number * 104729 % 20000) / 1000.0 END AS ratio
    FROM generate_series(1, $1::integer) AS number
) AS drawn"""
FILL_LIVE_STATUS = """
INSERT INTO {0}_live_status ({0}_id, {1}, recorded_at, updated_at)
SELECT 'DEVICE-' || number, {2}, now() - number % 2 * interval '1 hour', now() FROM generate_series(1, {3}) AS number"""
ROWS_READ = "SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables WHERE relname = $1"


@pytest.fixture
async def owner(database: Database) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(database.migrator_url)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def reader(database: Database) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(database.reader_url, server_settings=READER_SETTINGS)
    try:
        yield connection
    finally:
        await connection.close()


async def ranked(reader: Any, rows: int, **ranking: Any) -> list[Any]:
    """All pages of so many rows."""
    found: list[Any] = []
    position = {"after_id": None, "after_rank": None}
    while True:
        page = [
            row async for row in queries.ranked_vehicles(reader, row_limit=rows, **{"search": ""} | ranking | position)
        ]
        found += page
        if len(page) < rows:
            return found
        position = {"after_id": page[-1]["vehicle_id"], "after_rank": page[-1]["rank"]}


def expected(fleet: list[dict[str, Any]], sort: str, *, descending: bool) -> list[str]:
    """The ids by value and then by id, those without a value last."""
    if sort == "vehicleId":
        return sorted((each["vehicle_id"] for each in fleet), reverse=descending)
    value, sign = VALUES[sort], -1 if descending else 1
    have = [each for each in fleet if each[value] is not None]
    have.sort(key=lambda each: (sign * each[value], each["vehicle_id"]))
    return [each["vehicle_id"] for each in have] + sorted(each["vehicle_id"] for each in fleet if each[value] is None)


@pytest.mark.parametrize("few", [True, False])
async def test_every_ranking_has_the_order_of_its_values_page_by_page(owner: Any, reader: Any, few: bool) -> None:
    await owner.execute(FILL, 300)
    rows = await owner.fetch("SELECT *, CASE WHEN assigned_seconds > 0 THEN ac_kwh END AS ac FROM vehicle_efficiency")
    for sort, descending, status in product((*VALUES, "vehicleId"), (False, True), STATUSES):
        fleet = [dict(row) for row in rows if status in (None, row["status"])]
        assert fleet
        found = await ranked(reader, 23, sort=sort, descending=descending, status=status, few=few)
        assert [row["vehicle_id"] for row in found] == expected(fleet, sort, descending=descending), (sort, status)


async def test_a_search_finds_ids_that_contain_the_text(owner: Any, reader: Any) -> None:
    await owner.execute(FILL, 300)
    for search in ("eh-1", "VEH", "12", "7", "%", "_", "\\", "nothing"):
        ids = sorted(f"VEH-{number}" for number in range(1, 301) if search.lower() in f"veh-{number}")
        for sort, few in product(VALUES, (True, False)):
            found = await ranked(reader, 101, sort=sort, descending=False, status=None, few=few, search=search)
            assert sorted(row["vehicle_id"] for row in found) == ids
        counted = await queries.count_ranked_vehicles(reader, status=None, search=search, most=50)
        assert counted["counted"] == min(50, len(ids))


async def fill_live_status(owner: Any, devices: int) -> None:
    """So many vehicles and as many meters; every second one has been silent for an hour."""
    await owner.execute(
        FILL_LIVE_STATUS.format("vehicle", "soc, last_kwh_delivered_dc, last_battery_temp", "50, 1, 25", devices)
    )
    await owner.execute(FILL_LIVE_STATUS.format("meter", "last_kwh_consumed_ac, last_voltage", "1, 240", devices))


@pytest.fixture
async def large(owner: Any) -> None:
    """10,000 vehicles and as many meters."""
    await owner.execute(FILL, 10_000)
    await fill_live_status(owner, 10_000)
    await owner.execute("VACUUM ANALYZE vehicle_efficiency, vehicle_live_status, meter_live_status")


async def rows_read(reader: Any, table: str, query: Any, **arguments: Any) -> int:
    """Rows of a table that a query reads."""
    async with reader.transaction():
        before = await reader.fetchval(ROWS_READ, table) or 0
        result = query(reader, **arguments)
        if hasattr(result, "__aiter__"):
            async for _ in result:
                pass
        else:
            await result
        return int(await reader.fetchval(ROWS_READ, table) - before)


def rankings() -> Iterator[dict[str, Any]]:
    for sort, descending, status in product((*VALUES, "vehicleId"), (False, True), STATUSES):
        yield {"sort": sort, "descending": descending, "status": status, "after_id": None, "after_rank": None}
    for sort in VALUES:
        for after_rank in (20.0, None):
            yield {"sort": sort, "descending": False, "status": None, "after_id": "VEH-5", "after_rank": after_rank}


@pytest.mark.usefixtures("large")
async def test_a_page_of_a_ranking_or_of_a_search_reads_its_own_vehicles(reader: Any) -> None:
    for ranking in rankings():
        read = await rows_read(
            reader, EVALUATED, queries.ranked_vehicles, few=False, search="", row_limit=51, **ranking
        )
        assert read < 1_500, ranking
    first = {"sort": "efficiency", "descending": False, "after_id": None, "after_rank": None, "row_limit": 51}
    for search in ("1234", "EH-199"):
        matching = {"status": None, "search": search}
        read = await rows_read(reader, EVALUATED, queries.count_ranked_vehicles, most=1_000, **matching)
        read += await rows_read(reader, EVALUATED, queries.ranked_vehicles, few=True, **matching, **first)
        assert read < 500, search


@pytest.mark.usefixtures("large")
async def test_a_page_of_all_statuses_reads_the_steps_of_its_own_vehicles(owner: Any, reader: Any) -> None:
    """Each of three statuses has a third of the vehicles, all with the same efficiency."""
    for number, (status, ratio) in enumerate({"faulty": 78, "degraded": 88, "healthy": 95}.items()):
        await owner.execute(
            "UPDATE vehicle_efficiency SET status = $1, ratio = $2 WHERE substr(vehicle_id, 5)::integer % 3 = $3",
            status,
            ratio,
            number,
        )
    await owner.execute("VACUUM ANALYZE vehicle_efficiency")
    for descending, after in product((False, True), (None, "VEH-5")):
        rank = after and (-95.0 if descending else 78.0)
        page = {"sort": "efficiency", "descending": descending, "status": None, "after_id": after, "after_rank": rank}
        read = await rows_read(reader, EVALUATED, queries.ranked_vehicles, few=False, search="", row_limit=51, **page)
        assert read < 5_000, page


async def evaluation_totals(reader: Any) -> set[tuple[str, int | None, int]]:
    rows = [row async for row in queries.fleet_evaluation(reader, bounds=HISTOGRAM_BOUNDS)]
    return {(row["status"], row["step"], row["vehicles"]) for row in rows}


@pytest.mark.usefixtures("large")
async def test_the_summary_counts_a_bounded_number_of_devices_and_takes_the_totals_of_maintenance(
    owner: Any, reader: Any
) -> None:
    before_the_first = await evaluation_totals(reader)
    await store_fleet_totals(owner)
    assert await evaluation_totals(reader) == before_the_first
    live = {"reporting_within": timedelta(minutes=5), "most_counted": 1_000}
    for table in ("vehicle_live_status", "meter_live_status"):
        assert await rows_read(reader, table, queries.fleet_live, **live) <= 1_000
    assert await rows_read(reader, EVALUATED, queries.fleet_evaluation, bounds=HISTOGRAM_BOUNDS) == 0

    found = await queries.fleet_live(reader, **live)
    assert (found["vehicles"], found["meters"]) == (10_000, 10_000)
    assert (found["vehicles_reporting"], found["meters_reporting"]) == (5_000, 5_000)
    assert await owner.fetchval("SELECT sum(vehicles) FROM evaluation_totals") == 10_000
    assert found["newest_reading"] == await owner.fetchval("SELECT max(recorded_at) FROM meter_live_status")


@pytest.mark.usefixtures("large")
async def test_an_evaluation_that_leaves_the_steps_as_they_are_updates_no_index(owner: Any) -> None:
    async with owner.transaction():
        await owner.execute(
            "UPDATE vehicle_efficiency SET window_end = window_end + interval '1 minute', "
            "ac_kwh = (ac_kwh + ceil(ac_kwh)) / 2, ratio = (ratio + ceil(ratio * 10) / 10) / 2 WHERE ratio IS NOT NULL"
        )
        updated, heap_only = await owner.fetchrow(
            "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_xact_user_tables WHERE relname = 'vehicle_efficiency'"
        )
    assert updated > 5_000
    assert heap_only > 0.97 * updated, "all but those whose page was full"


async def test_an_evaluation_stores_the_totals_of_the_fleet(owner: Any, database: Database) -> None:
    await fill_live_status(owner, 3)
    settings = MaintainSettings(database_url=SecretStr(database.migrator_url))
    await TASKS["evaluation"](owner, datetime.now(UTC), settings)
    assert await owner.fetchval("SELECT sum(vehicles) FROM evaluation_totals WHERE status = 'unassigned'") == 3
    assert tuple(await owner.fetchrow("SELECT vehicles, vehicles_reporting, meters FROM device_totals")) == (3, 1, 3)
