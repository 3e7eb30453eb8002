"""Evaluation within the database: what it stores is what assess_efficiency and next_state return, and it stores nothing else."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final
from uuid import uuid4

import asyncpg
import pytest

from sql.analytics.efficiency import WINDOW, Efficiency, EnergySums, assess_efficiency
from sql.analytics.fault_state import JUDGED, FaultState, next_state
from sql.maintenance.carried_sums import begin_round, carried_energy
from sql.maintenance.unchanged_faults import Round, evaluate_unchanged
from sql.queries import queries
from tests.integration.sql.test_fleet_evaluation import LIMITS, RULES
from tests.support.database import Database

pytestmark = pytest.mark.anyio

VEHICLES: Final = 1_500
CLOSES: Final = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=1)
TAIL: Final = 5  # minutes after the carried sums
# Most values lie at a threshold, or next to one.
ENERGIES: Final = (0.0, 0.4, 0.999, 1.0, 7.3, 143.8)
RATIOS: Final = (
    0.0,
    70.0,
    84.994,
    84.996,
    85.0,
    86.99,
    87.0,
    89.994,
    90.0,
    93.3371,
    95.0,
    99.999,
    100.004,
    100.006,
    104.0,
)
READINGS: Final = (0, 1, 700, 1146, 1147, 1400, 1407, 1430, 1433, 1434, 1435)
WATERMARKS: Final = "UPDATE rollup_state SET late_before = $1, complete_before = date_trunc('hour', $1::timestamptz)"
LIVE: Final = {
    "meter": "INSERT INTO meter_live_status VALUES ($1, 0, 230, $2, now())",
    "vehicle": "INSERT INTO vehicle_live_status VALUES ($1, 50, 0, 25, $2, now())",
}
CARRIED: Final = {
    "meter": """
        INSERT INTO meter_carried_sums VALUES ($1, $2, $3, $4, $2, 0, 0, $5)""",
    "vehicle": """
        INSERT INTO vehicle_carried_sums VALUES ($1, $2, $3, $4::float8 * 25, $4::float8::bigint, $2, 0, 0, 0, $5)""",
}
TAILS: Final = {
    "meter": """
        INSERT INTO meter_telemetry_history (meter_id, recorded_at, kwh_consumed_ac, voltage)
        SELECT $1, $2::timestamptz + number * interval '1 minute', 0, 230
        FROM generate_series(0, $3::integer - 1) AS number
    """,
    "vehicle": """
        INSERT INTO vehicle_telemetry_history (vehicle_id, recorded_at, kwh_delivered_dc, soc, battery_temp)
        SELECT $1, $2::timestamptz + number * interval '1 minute', 0, 50, 25
        FROM generate_series(0, $3::integer - 1) AS number
    """,
}
ASSIGN: Final = "INSERT INTO vehicle_meter_assignments VALUES ($1, $2, tstzrange($3, NULL), 'test')"
EVALUATED: Final = """
INSERT INTO vehicle_efficiency (
    vehicle_id, window_end, ac_kwh, dc_kwh, dc_kwh_assigned, ac_points, dc_points, dc_points_assigned, dc_coverage, status,
    reason, faulty_in_a_row, sound_in_a_row
) VALUES ($1, $2, 0, 0, 0, 0, 0, 0, 0, 'healthy', 'before', $3, $4)"""
FAULT: Final = """
INSERT INTO efficiency_faults (vehicle_id, meter_ids, opened_at, opened_ratio, opened_ac_kwh, opened_dc_kwh, lowest_ratio)
VALUES ($1, '{}', $2, 80, 1, 1, $3)"""
STORED: Final = "SELECT * FROM vehicle_efficiency ORDER BY vehicle_id"


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Any]:
    connected = await asyncpg.connect(database.migrator_url)
    try:
        yield connected
    finally:
        await connected.close()


async def fill(connection: Any) -> list[str]:
    """Vehicles with sums, former evaluations and faults that are drawn at random; the ids in ascending order."""
    dice, carried_to = Random(23), CLOSES - timedelta(minutes=TAIL)
    hour = (CLOSES - WINDOW).replace(minute=0)
    vehicle_ids = [f"VEH-{number:04}" for number in range(VEHICLES)]
    rows: dict[str, list[tuple[Any, ...]]] = {}
    for vehicle_id in vehicle_ids:
        ac_kwh, meter_id = dice.choice(ENERGIES), vehicle_id.replace("VEH", "METER")
        dc_kwh, readings = ac_kwh * dice.choice(RATIOS) / 100, dice.choice(READINGS)
        sides = (("meter", meter_id, ac_kwh), ("vehicle", vehicle_id, dc_kwh))
        for side, device, kwh in sides:
            tail, points = (
                dice.choice((TAIL, TAIL, 2, 1)),
                max(0, readings - dice.choice((0, 0, 0, 1, 2, 26, 27, 28, 29))),
            )
            rows.setdefault(LIVE[side], []).append((device, carried_to + timedelta(minutes=tail - 1)))
            rows.setdefault(TAILS[side], []).append((device, carried_to, tail))
            rows.setdefault(CARRIED[side], []).append((hour, carried_to, kwh, points, device))
            rows.setdefault(f"INSERT INTO {side}_leaving_hours VALUES ($1, $2)", []).append((hour, device))
        if dice.random() < 0.95:
            rows.setdefault(ASSIGN, []).append((vehicle_id, meter_id, CLOSES - 3 * WINDOW))
        if dice.random() < 0.95:
            before = CLOSES + timedelta(minutes=dice.choice((-1, -1, -1, -1, -7, 0, 3)))
            rows.setdefault(EVALUATED, []).append((vehicle_id, before, dice.randrange(4), dice.randrange(3)))
        if dice.random() < 0.4:
            rows.setdefault(FAULT, []).append((vehicle_id, CLOSES - WINDOW, dice.choice((70.0, 80.0, 85.0))))
    for statement, arguments in rows.items():
        await connection.executemany(statement, arguments)
    await connection.execute(WATERMARKS, carried_to)
    return vehicle_ids


def remains(row: Any, efficiency: Efficiency, former: Any, after: FaultState) -> bool:
    """Whether the vehicle is one that the database is to evaluate."""
    if not (row["ac_points_compared"] and row["dc_points_compared"]) or former["window_end"] >= CLOSES:
        return False
    if efficiency.status not in JUDGED:
        return row["ac_kwh_compared"] == 0 and efficiency.status == "insufficient_data"
    is_open = former["lowest_ratio"] is not None
    gets_worse = is_open and efficiency.status == "faulty" and efficiency.ratio < former["lowest_ratio"]
    return after.is_open == is_open and not gets_worse


def expected(row: Any, efficiency: Efficiency, after: FaultState) -> dict[str, Any]:
    """What an evaluation stores."""
    sums = (
        "ac_kwh",
        "dc_kwh",
        "dc_kwh_assigned",
        "ac_points",
        "dc_points",
        "dc_points_assigned",
        "average_battery_temp",
    )
    return {name: row[name] for name in (*sums, "assigned_seconds", "ac_kwh_compared", "dc_kwh_compared")} | {
        "window_end": CLOSES,
        "ratio": efficiency.ratio,
        "ac_coverage": efficiency.ac_coverage,
        "dc_coverage": efficiency.dc_coverage,
        "status": efficiency.status,
        "reason": efficiency.reason,
        "faulty_in_a_row": after.faulty_streak,
        "sound_in_a_row": after.recovered_streak,
    }


async def test_the_database_stores_what_the_functions_of_analytics_return(connection: Any) -> None:
    vehicle_ids = await fill(connection)
    window = await begin_round(connection, CLOSES - WINDOW, CLOSES)
    energy = {row["vehicle_id"]: row for row in await carried_energy(connection, vehicle_ids, window)}
    assert len(energy) == VEHICLES
    lowest = dict(await connection.fetch("SELECT vehicle_id, lowest_ratio FROM efficiency_faults"))
    former = {
        row["vehicle_id"]: dict(row) | {"lowest_ratio": lowest.get(row["vehicle_id"])}
        for row in await connection.fetch(STORED)
    }
    current = Round(window, await queries.begin_evaluation(connection), LIMITS, RULES)

    result = await evaluate_unchanged(connection, vehicle_ids, current)

    unchanged, others, found = 0, [], set()
    for stored in await connection.fetch(STORED):
        row, before = energy[stored["vehicle_id"]], former[stored["vehicle_id"]]
        efficiency = assess_efficiency(EnergySums.of_window(row, WINDOW.total_seconds()), LIMITS)
        state = FaultState(
            before["faulty_in_a_row"], before["sound_in_a_row"], is_open=before["lowest_ratio"] is not None
        )
        after = next_state(state, efficiency.status, efficiency.ratio, RULES)
        if remains(row, efficiency, before, after):
            unchanged += 1
            found.add((efficiency.status, state.is_open))
            wanted = expected(row, efficiency, after)
            assert {name: stored[name] for name in wanted} == wanted, (dict(row), before)
        else:
            others.append(stored["vehicle_id"])
            assert dict(stored) == {name: before[name] for name in stored.keys()}, (dict(row), efficiency)  # noqa: SIM118
    assert (result["vehicles"], result["carried_to"]) == (unchanged, (CLOSES - timedelta(minutes=TAIL)).timestamp())
    assert result["others"] == sorted({*others, *energy.keys() - former.keys()})
    assert found == {(status, is_open) for status in (*JUDGED, "insufficient_data") for is_open in (False, True)}
    again = await evaluate_unchanged(connection, vehicle_ids, current)
    assert (again["vehicles"], again["carried_to"]) == (0, None), "once a minute"


async def test_a_session_of_a_former_round_stores_nothing(connection: Any) -> None:
    vehicle_ids = await fill(connection)
    window = await begin_round(connection, CLOSES - WINDOW, CLOSES)
    former = await queries.begin_evaluation(connection)
    present = await queries.begin_evaluation(connection)
    for token, stores in ((former, False), (uuid4(), False), (present, True)):
        result = await evaluate_unchanged(connection, vehicle_ids, Round(window, token, LIMITS, RULES))
        assert (result["vehicles"] > 0) == stores
