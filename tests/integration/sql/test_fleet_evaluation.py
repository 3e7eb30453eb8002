"""Fleet evaluation minute by minute: stored evaluations, faults opened and closed, and their alerts."""

import sys
from asyncio import create_subprocess_exec, timeout
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import msgspec
import pytest

from schemas.records.alerts import Alert
from sql.analytics.efficiency import Thresholds
from sql.analytics.fault_state import Hysteresis
from sql.maintenance import fleet_reading
from sql.maintenance.fleet_evaluation import evaluate_fleet
from sql.maintenance.trends import refresh_trends
from tests.integration.sql.test_energy import Fleet
from tests.support.database import Database
from tests.support.database_rows import fold_days
from tests.support.repository import ROOT
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

LIMITS = Thresholds(fault_below=85, degraded_below=90, min_energy_kwh=1, min_coverage=0.8, max_reading_gap=0.02)
RULES = Hysteresis(open_after=3, close_after=2, close_from=87)
NOW = (datetime.now(UTC) - timedelta(days=1)).replace(hour=15, minute=30, second=20, microsecond=0)
END = NOW.replace(second=0)
BEGIN = END - timedelta(hours=24)
MINUTE = timedelta(minutes=1)


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Any]:
    connected = await asyncpg.connect(database.migrator_url)
    try:
        yield connected
    finally:
        await connected.close()


async def charge(fleet: Fleet, number: int, ratio: float, opens: datetime = BEGIN, closes: datetime = END) -> None:
    """Readings of VEH-n and METER-n with an efficiency in %."""
    await fleet.meter(f"METER-{number}", 0.1, opens, closes)
    await fleet.vehicle(f"VEH-{number}", 0.1 * ratio / 100, opens, closes)


async def assign(fleet: Fleet, *numbers: int) -> None:
    for number in numbers:
        await fleet.assign(f"VEH-{number}", f"METER-{number}", BEGIN - timedelta(days=40))


async def evaluate(connection: Any, *minutes: int) -> list[int]:
    return [await evaluate_fleet(connection, NOW + MINUTE * minute, LIMITS, RULES) for minute in minutes]


async def faults(connection: Any) -> list[tuple[Any, ...]]:
    rows = await connection.fetch(
        "SELECT vehicle_id, opened_at, round(opened_ratio::numeric, 2)::float, round(lowest_ratio::numeric, 2)::float, "
        "closed_at, round(closed_ratio::numeric, 2)::float FROM efficiency_faults ORDER BY fault_id"
    )
    return [tuple(row) for row in rows]


async def alerts(connection: Any) -> list[Alert]:
    rows = await connection.fetch("SELECT key, value FROM alert_outbox ORDER BY event_id")
    alerts = [msgspec.json.decode(row["value"], type=Alert) for row in rows]
    assert [row["key"] for row in rows] == [alert.vehicle_id for alert in alerts]
    return alerts


async def test_faulty_chargers_are_found_and_healthy_ones_are_not(connection: Any) -> None:
    fleet = Fleet(connection)
    for number, ratio in ((1, 80.0), (2, 93.0), (3, 86.0), (4, 104.0)):
        await charge(fleet, number, ratio)
    await fleet.vehicle("VEH-5", 0.09)
    await assign(fleet, 1, 2, 3, 4)
    await fleet.refresh()

    assert await evaluate(connection, 0, 0, 1) == [5, 0, 5], "once a minute"
    assert await faults(connection) == []
    await evaluate(connection, 2)

    stored = await connection.fetch(
        "SELECT vehicle_id, status, ratio, ac_kwh, dc_points, window_end FROM vehicle_efficiency ORDER BY vehicle_id"
    )
    assert [(row["vehicle_id"], row["status"], row["ratio"]) for row in stored] == [
        ("VEH-1", "faulty", 80.0),
        ("VEH-2", "healthy", 93.0),
        ("VEH-3", "degraded", 86.0),
        ("VEH-4", "implausible", 104.0),
        ("VEH-5", "unassigned", None),
    ]
    assert {row["window_end"] for row in stored} == {END + MINUTE * 2}
    assert stored[0]["ac_kwh"] == pytest.approx(0.1 * 1438)
    assert await faults(connection) == [("VEH-1", END + MINUTE * 2, 80.0, 80.0, None, None)]
    (alert,) = await alerts(connection)
    assert (alert.event, alert.vehicle_id, alert.meter_ids) == ("fault_opened", "VEH-1", ["METER-1"])
    assert (alert.efficiency_ratio, alert.threshold_percent) == (80.0, 85)
    assert alert.energy_consumed_ac == pytest.approx(143.8)
    assert alert.window_end - alert.window_start == timedelta(hours=24)


async def test_readers_are_ahead_of_the_session_that_stores(
    connection: Any, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_reading, "VEHICLES_PER_BATCH", 2)
    fleet = Fleet(connection)
    for number in range(1, 8):
        await fleet.vehicle(f"VEH-{number}", 0.09, END - 3 * MINUTE, END)
    readers = [await asyncpg.connect(database.migrator_url) for _ in range(2)]
    assert await evaluate_fleet(connection, NOW, LIMITS, RULES, readers) == 7
    assert await evaluate_fleet(connection, NOW, LIMITS, RULES, readers) == 0, "once a minute"
    await readers[1].close()
    with pytest.raises(asyncpg.InterfaceError):
        await evaluate_fleet(connection, NOW + MINUTE, LIMITS, RULES, readers)
    await readers[0].fetchval("SELECT 1")  # nothing is in progress on it
    evaluated = "SELECT vehicle_id FROM vehicle_efficiency WHERE window_end = $1 ORDER BY vehicle_id"
    assert [row[0] for row in await connection.fetch(evaluated, END)] == [f"VEH-{number}" for number in range(3, 8)]
    assert await evaluate_fleet(connection, NOW + MINUTE, LIMITS, RULES) == 5
    await readers[0].close()


async def test_a_repaired_charger_closes_its_fault_and_can_open_another(connection: Any) -> None:
    fleet = Fleet(connection)
    await assign(fleet, 1)
    await charge(fleet, 1, 82)
    await evaluate(connection, 0, 1, 2)
    await charge(fleet, 1, 70, END, END + timedelta(hours=24))
    day = 1440
    await evaluate(connection, day - 10)
    await charge(fleet, 1, 95, END + timedelta(hours=24), END + timedelta(hours=48))
    await evaluate(connection, 2 * day, 2 * day + 1)

    ((vehicle_id, opened_at, opened, lowest, closed_at, closed),) = await faults(connection)
    assert (vehicle_id, opened_at, opened) == ("VEH-1", END + MINUTE * 2, 82.0)
    assert lowest == pytest.approx(70.08, abs=0.01)
    assert (closed_at, closed) == (END + timedelta(hours=48) + MINUTE, 95.0)
    assert [alert.event for alert in await alerts(connection)] == ["fault_opened", "fault_closed"]
    assert len({alert.event_id for alert in await alerts(connection)}) == 2

    await charge(fleet, 1, 60, END + timedelta(hours=48), END + timedelta(hours=72))
    await evaluate(connection, 3 * day, 3 * day + 1, 3 * day + 2)
    assert [fault[4] is None for fault in await faults(connection)] == [False, True]


@pytest.mark.parametrize("behind", ["vehicle", "meter"])
@pytest.mark.parametrize("minutes", [1, 7, 25, 200])
async def test_a_topic_that_stands_still_makes_no_charger_faulty(connection: Any, behind: str, minutes: int) -> None:
    """Ten vehicles have charged for the last hour; the readings of one side are on their way for a while."""
    fleet, numbers, newest = Fleet(connection), range(10), END - minutes * MINUTE
    await assign(fleet, *numbers)
    for number in numbers:
        idle, charging = END - timedelta(minutes=60), END
        for opens, closes, kwh in ((BEGIN, idle, 0.0), (idle, charging, 0.5)):
            meter_closes = min(closes, newest) if behind == "meter" else closes
            vehicle_closes = min(closes, newest) if behind == "vehicle" else closes
            await fleet.meter(f"METER-{number}", kwh, opens, meter_closes)
            await fleet.vehicle(f"VEH-{number}", kwh * 0.95, opens, vehicle_closes)
    await evaluate(connection, 0, 1, 2, 3)

    assert await faults(connection) == []
    assert await alerts(connection) == []
    statuses = await connection.fetch("SELECT DISTINCT status, ratio FROM vehicle_efficiency")
    if minutes < 28:
        assert [tuple(row) for row in statuses] == [("healthy", 95.0)], "judged up to the older of the newest readings"
    else:
        assert [row["status"] for row in statuses] == ["insufficient_data"], "too much is missing on one side"


async def test_identities_are_not_used_again_when_the_database_goes_back_in_time(connection: Any) -> None:
    fleet = Fleet(connection)
    await assign(fleet, *range(3))
    for number in range(3):
        await charge(fleet, number, 80)
    await evaluate(connection, 0, 1, 2)
    told = await alerts(connection)
    # As a restore does, or a standby that is promoted without the last commits.
    await connection.execute(
        "DELETE FROM efficiency_faults; DELETE FROM alert_outbox; "
        "SELECT setval(oid::regclass, 1, false) FROM pg_class WHERE relkind = 'S'"
    )
    await evaluate(connection, 3, 4, 5)

    told_again = await alerts(connection)
    assert [len(told), len(told_again)] == [3, 3]
    assert len({each.event_id for each in told + told_again}) == 6
    assert len({each.fault_id for each in told + told_again}) == 6
    assert max(each.fault_id for each in told_again) < 2**53, "JSON represents it exactly"


async def test_a_vehicle_that_comes_back_keeps_its_open_fault(connection: Any) -> None:
    fleet, first = Fleet(connection), Hysteresis(open_after=1, close_after=2, close_from=87)
    await assign(fleet, 1, 2)
    await charge(fleet, 1, 80)
    await evaluate_fleet(connection, NOW, LIMITS, first)
    await connection.execute("DELETE FROM vehicle_efficiency")  # as for a vehicle without readings and assignments
    await charge(fleet, 2, 80)
    assert await evaluate_fleet(connection, NOW + MINUTE, LIMITS, first) == 2
    assert [(fault[0], fault[4]) for fault in await faults(connection)] == [("VEH-1", None), ("VEH-2", None)]
    assert await connection.fetchval("SELECT count(*) FROM vehicle_efficiency WHERE window_end = $1", END + MINUTE) == 2


async def test_a_day_without_readings_neither_opens_nor_closes_a_fault(connection: Any) -> None:
    fleet = Fleet(connection)
    await assign(fleet, 1)
    await charge(fleet, 1, 80)
    await evaluate(connection, 0, 1)
    await evaluate(connection, 2000, 2001)
    assert await faults(connection) == []
    assert await connection.fetchval("SELECT status FROM vehicle_efficiency") == "insufficient_data"
    assert await connection.fetchval("SELECT faulty_in_a_row FROM vehicle_efficiency") == 2


# A folded day becomes late readings that are not merged yet.
LATE = """
INSERT INTO vehicle_late_readings (vehicle_id, recorded_at, ingested_at, kwh_delivered_dc, soc, battery_temp)
SELECT vehicle_id, recorded_at, ingested_at, kwh_delivered_dc, soc, battery_temp
FROM vehicle_readings WHERE vehicle_id = 'VEH-2' AND day = $1
"""


@pytest.mark.parametrize("folded_days", [0, 9])
async def test_an_aging_charger_is_found_from_its_daily_efficiencies(connection: Any, folded_days: int) -> None:
    fleet = Fleet(connection)
    await assign(fleet, 1, 2)
    midnight = NOW.replace(hour=0, minute=0, second=0)
    for back in range(12, 0, -1):
        opens = midnight - timedelta(days=back)
        await charge(fleet, 1, 88 + 0.3 * back, opens, opens + timedelta(days=1))
        await charge(fleet, 2, 93, opens, opens + timedelta(days=1))
    await fleet.refresh()
    if folded_days:
        await fold_days(connection, midnight - timedelta(days=12 - folded_days))
        late_day = midnight.date() - timedelta(days=12)
        await connection.execute(LATE, late_day)
        await connection.execute("DELETE FROM vehicle_days WHERE vehicle_id = 'VEH-2' AND day = $1", late_day)

    assert await refresh_trends(connection, NOW, LIMITS) == 2
    assert await refresh_trends(connection, NOW, LIMITS) == 0, "once a day"

    aging, steady = await connection.fetch("SELECT * FROM vehicle_trends ORDER BY vehicle_id")
    assert (aging["status"], aging["days"], aging["last_day"]) == ("aging", 12, midnight.date() - timedelta(days=1))
    assert aging["slope"] == pytest.approx(-0.3, abs=0.01)
    assert aging["days_until_fault"] == pytest.approx((88.3 - 85) / 0.3, abs=0.5)
    assert (steady["status"], steady["days"]) == ("steady", 12)


async def test_one_round_runs_all_tasks_and_a_second_process_stands_by(
    connection: Any, database: Database, environment: dict[str, str]
) -> None:
    fleet, now = Fleet(connection), datetime.now(UTC)
    await assign(fleet, 1)
    await charge(fleet, 1, 80, now - timedelta(hours=25), now)
    settings = environment | {"DATABASE_URL": database.migrator_url, "FAULT_OPEN_AFTER": "1"}

    await connection.execute("SELECT pg_advisory_lock(hashtext('energy.maintain'))")
    assert await _maintain(settings) == 0
    assert await connection.fetchval("SELECT count(*) FROM vehicle_efficiency") == 0
    await connection.execute("SELECT pg_advisory_unlock(hashtext('energy.maintain'))")
    assert await _maintain(settings) == 0

    assert await connection.fetchval("SELECT status FROM vehicle_efficiency") == "faulty"
    assert await connection.fetchval("SELECT count(*) FROM efficiency_faults") == 1
    assert await connection.fetchval("SELECT sum(readings) FROM meter_energy_hourly") >= 1380
    assert await connection.fetchval("SELECT count(*) FROM vehicle_trends") == 1
    assert await _maintain(settings | {"FAULT_CLOSE_FROM_PERCENT": "84"}) == 2, "rejected: below FAULT_BELOW_PERCENT"
    await connection.execute("ALTER TABLE vehicle_efficiency RENAME TO elsewhere")
    assert await _maintain(settings) == 1, "a task has failed"


async def test_a_round_is_cancelled_by_sigterm(
    connection: Any, database: Database, environment: dict[str, str]
) -> None:
    async with connection.transaction():
        await connection.execute("LOCK TABLE rollup_state IN ACCESS EXCLUSIVE MODE")
        process = await create_subprocess_exec(
            sys.executable, "-m", "sql", "maintain", env=environment | {"DATABASE_URL": database.migrator_url}, cwd=ROOT
        )
        await until(lambda: _waits(database), "the round is blocked")
        process.terminate()
        async with timeout(10):
            assert await process.wait() == 0


async def _waits(database: Database) -> bool:
    return bool(
        await database.value(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND application_name = 'energy-maintain' "
            "AND wait_event_type = 'Lock'",
            database.name,
        )
    )


async def _maintain(settings: dict[str, str]) -> int:
    process = await create_subprocess_exec(sys.executable, "-m", "sql", "maintain", "--once", env=settings, cwd=ROOT)
    return await process.wait()
