"""What the evaluation carries forward: at any moment, its answer is that of `energy_of`, in whatever order things happen."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from sql.analytics.efficiency import WINDOW
from sql.maintenance.carried_sums import BEHIND, Window, carried_energy
from sql.maintenance.fleet_evaluation import evaluate_fleet
from sql.maintenance.rollups import refresh_rollups
from sql.queries import queries
from tests.integration.sql.test_fleet_evaluation import LIMITS, RULES
from tests.support.database import Database

PROPERTY: Final = settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
START: Final = datetime.now(UTC).replace(hour=9, minute=40, second=0, microsecond=0) - timedelta(days=1)
GRACE, MINUTE = timedelta(minutes=10), timedelta(minutes=1)
PAIRS: Final = {"VEH-A": "METER-A", "VEH-B": "METER-B", "VEH-C": "METER-C"}
DEVICES: Final = (*PAIRS, *PAIRS.values())
COLUMNS: Final = (
    "assigned_seconds", "ac_kwh", "ac_points", "dc_kwh", "dc_points", "dc_kwh_assigned", "dc_points_assigned", "ac_kwh_compared",
    "ac_points_compared", "dc_kwh_compared", "dc_points_compared", "average_battery_temp",
)  # fmt: skip

# Minutes before the present one. Many are at the edges of what is carried: both ends of the window, and late_before.
ages = st.sampled_from([0, 1, 2, 3, 5, 9, 10, 11, 40, 69, 70]) | st.integers(1370, 1445) | st.integers(-4, 1500)


@dataclass(frozen=True, slots=True)
class Write:
    """Readings of these ages arrive, with seconds; `many`: with so many others that their hours are marked for all devices."""

    readings: list[tuple[str, int, int]]
    many: bool


@dataclass(frozen=True, slots=True)
class Correct:
    """Another version of a derived interval of a meter."""

    number: int


@dataclass(frozen=True, slots=True)
class Assign:
    """The vehicle draws from its meter between these ages only; None: it still does. From None on: it never did."""

    vehicle_id: str
    begins: int | None
    ends: int | None


@dataclass(frozen=True, slots=True)
class Rounds:
    """So many minutes pass; then so many rounds of maintenance run, a minute apart. Negative: the clock goes back."""

    minutes: int
    rounds: int


@dataclass(frozen=True, slots=True)
class Crash:
    """The server crashes, and tables that are not in the log are empty."""


STEPS = st.lists(
    st.builds(
        Write,
        st.lists(st.tuples(st.sampled_from(DEVICES), ages, st.integers(0, 59)), min_size=1, max_size=12),
        st.sampled_from([False, False, True]),
    )
    | st.builds(Correct, st.integers(0, 200))
    | st.builds(Assign, st.sampled_from(list(PAIRS)), st.none() | ages, st.none() | ages)
    | st.builds(Rounds, st.sampled_from([0, 1, 1, 4, 20, 55, 61, 130, -3, -90]), st.integers(1, 3))
    | st.builds(Rounds, st.sampled_from([0, 1, 20]), st.integers(1, 3))
    | st.builds(Crash),
    min_size=4,
    max_size=14,
)


# One for each thing that makes a carried sum wrong unless it is noticed. Two rounds have run before, the second one at 9:41.
KNOWN: Final[dict[str, list[Any]]] = {
    "late in an hour that is not rolled up": [Write([("VEH-A", 5, 3), ("METER-B", 9, 3)], many=False), Rounds(0, 2)],
    "the same, marked for all devices": [Write([("VEH-A", 5, 3), ("METER-B", 9, 3)], many=True), Rounds(0, 2)],
    "late in an hour that is rolled up": [Write([("VEH-A", 70, 3), ("METER-B", 75, 3)], many=False), Rounds(0, 3)],
    "the same, of all devices": [Write([("VEH-A", 70, 3), ("METER-B", 75, 3)], many=True), Rounds(0, 3)],
    "late in the hour that leaves": [Write([("VEH-A", 1425, 3), ("METER-B", 1425, 3)], many=False), Rounds(0, 3)],
    "after the clock went back": [
        Rounds(-90, 1),
        Write([("VEH-A", 0, 3), ("METER-B", 0, 3)], many=False),
        Rounds(90, 3),
    ],
    "one side silent": [Rounds(14, 1), Write([("METER-A", 10, 3), ("VEH-B", 1, 3)], many=False), Rounds(0, 3)],
    "a part of the window assigned": [Assign("VEH-A", 700, None), Assign("VEH-B", 2000, 30), Rounds(0, 1)],
    "an interval corrected": [Correct(2), Correct(40), Rounds(0, 3)],
    "the next hours": [Rounds(20, 2), Rounds(55, 2), Rounds(61, 2)],
    "a crash": [Crash(), Write([("VEH-A", 70, 3)], many=False), Rounds(0, 3)],
}


def _known(check: Any) -> Any:
    for steps in KNOWN.values():
        check = example(steps)(check)
    return check


@dataclass(slots=True)
class World:
    """A fleet of three vehicles in the database, written to as consumers do. `carried` counts answers from carried sums."""

    connection: Any
    now: datetime = START
    meters: list[tuple[str, datetime]] = field(default_factory=list)
    carried: int = 0

    async def write(self, readings: Sequence[tuple[str, datetime]], *, many: bool) -> None:
        late_before = await self.connection.fetchval(
            "SELECT late_before FROM rollup_state WHERE late_before > '2000-01-01'"
        )
        for device, at in readings:
            side = "meter" if device in PAIRS.values() else "vehicle"
            kwh = (at.minute * 7 + at.second + ord(device[-1])) % 101 / 50
            await self.connection.execute(INSERT[side], device, at, kwh)
            await self.connection.execute(LIVE[side], device, at)
            if side == "meter":
                self.meters.append((device, at))
            if late_before and at < late_before:
                await self._mark(side, "" if many else device, at)

    async def correct(self, number: int) -> None:
        if self.meters:
            device, at = self.meters[number % len(self.meters)]
            await self.connection.execute(CORRECT, device, at)
            if at < (await queries.rollup_state(self.connection))["late_before"]:
                await self._mark("meter", device, at)

    async def _mark(self, side: str, device: str, at: datetime) -> None:
        hour = at.replace(minute=0, second=0, microsecond=0)
        await queries.mark_late(self.connection, side=side, devices=[device], hours=[hour])

    async def assign(self, vehicle_id: str, begins: int | None, ends: int | None) -> None:
        await self.connection.execute("DELETE FROM vehicle_meter_assignments WHERE vehicle_id = $1", vehicle_id)
        if begins is None or (ends is not None and ends >= begins):
            return
        until = None if ends is None else self.now - ends * MINUTE
        await self.connection.execute(ASSIGN, vehicle_id, PAIRS[vehicle_id], self.now - begins * MINUTE, until)

    async def run_round(self) -> None:
        await refresh_rollups(self.connection, self.now, grace=GRACE)
        await evaluate_fleet(self.connection, self.now, LIMITS, RULES)
        await self.check()

    async def check(self) -> None:
        """Whatever the carried sums answer is what `energy_of` answers."""
        closes = self.now.replace(second=0)
        opens, state = closes - WINDOW, await queries.rollup_state(self.connection)
        window = Window(opens, closes, state["late_before"], state["complete_before"])
        carried = await carried_energy(self.connection, list(PAIRS), window)
        asked = [row["vehicle_id"] for row in carried]
        number = len(asked)
        wanted = queries.energy_of(self.connection, vehicle_ids=asked, opens=[opens] * number, closes=[closes] * number)
        assert [_sums(row) for row in carried] == [pytest.approx(_sums(row)) async for row in wanted]
        self.carried += number


def _sums(row: Any) -> dict[str, Any]:
    return {name: row[name] for name in COLUMNS}


INSERT: Final = {
    "meter": "INSERT INTO meter_telemetry_history (meter_id, recorded_at, kwh_consumed_ac, voltage, derived) "
    "VALUES ($1, $2, $3, 230, true) ON CONFLICT DO NOTHING",
    "vehicle": "INSERT INTO vehicle_telemetry_history (vehicle_id, recorded_at, kwh_delivered_dc, soc, battery_temp) "
    "VALUES ($1, $2, $3::float8, 50, 20 + $3::float8) ON CONFLICT DO NOTHING",
}
LIVE: Final = {
    "meter": "INSERT INTO meter_live_status VALUES ($1, 1, 230, $2, now()) "
    "ON CONFLICT (meter_id) DO UPDATE SET recorded_at = greatest(meter_live_status.recorded_at, excluded.recorded_at)",
    "vehicle": "INSERT INTO vehicle_live_status VALUES ($1, 50, 1, 20, $2, now()) "
    "ON CONFLICT (vehicle_id) DO UPDATE SET recorded_at = greatest(vehicle_live_status.recorded_at, excluded.recorded_at)",
}
CORRECT: Final = """
UPDATE meter_telemetry_history SET kwh_consumed_ac = kwh_consumed_ac + 0.5 WHERE meter_id = $1 AND recorded_at = $2
"""
ASSIGN: Final = "INSERT INTO vehicle_meter_assignments VALUES ($1, $2, tstzrange($3, $4), 'test')"


async def _begin(connection: Any) -> World:
    """Three vehicles that are assigned, with readings at the edges of the window and some between; two rounds have run."""
    await connection.execute(
        "UPDATE rollup_state SET folding_before = $1, folded_before = $1", START - timedelta(days=2)
    )
    world = World(connection)
    for vehicle_id in PAIRS:
        await world.assign(vehicle_id, 60 * 24 * 10, None)
    minutes = [*range(-30, 0), *range(-1443, -1370, 3), *range(-1300, -60, 97)]
    await world.write(
        [(each, START + age * MINUTE + timedelta(seconds=7)) for each in DEVICES for age in minutes], many=False
    )
    for _ in range(2):
        await world.run_round()
        world.now += MINUTE
    return world


async def _follow(begun: World, steps: Sequence[Any]) -> int:
    """The number of answers from carried sums; afterwards the database is as it was."""
    world = World(begun.connection, begun.now, list(begun.meters))
    transaction = world.connection.transaction()
    await transaction.start()
    try:
        for step in steps:
            await _take(world, step)
            await world.check()
    finally:
        await transaction.rollback()
    return world.carried


async def _take(world: World, step: Any) -> None:
    match step:
        case Write(readings, many):
            instants = [(each, world.now - age * MINUTE + timedelta(seconds=at)) for each, age, at in readings]
            await world.write(instants, many=many)
        case Correct(number):
            await world.correct(number)
        case Assign(vehicle_id, begins, ends):
            await world.assign(vehicle_id, begins, ends)
        case Crash():
            await world.connection.execute(f"TRUNCATE {', '.join(UNLOGGED)}")
        case Rounds(minutes, rounds):
            world.now += minutes * MINUTE
            for _ in range(rounds):
                await world.run_round()
                world.now += MINUTE


UNLOGGED: Final = ("meter_carried_sums", "vehicle_carried_sums", "meter_leaving_hours", "vehicle_leaving_hours")


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as running:
        yield running


def test_carried_sums_answer_as_energy_of_does_in_any_order_of_events(
    runner: asyncio.Runner, database: Database
) -> None:
    connection = runner.run(asyncpg.connect(database.migrator_url))
    begun = runner.run(_begin(connection))
    carried: list[int] = []

    @PROPERTY
    @_known
    @given(STEPS)
    def check(steps: list[Any]) -> None:
        carried.append(runner.run(_follow(begun, steps)))

    check()
    runner.run(connection.close())
    assert sum(carried) > len(carried), "carried sums answered most of the time"


@pytest.mark.anyio
async def test_in_the_steady_state_all_answers_come_from_carried_sums(database: Database) -> None:
    connection = await asyncpg.connect(database.migrator_url)
    world = await _begin(connection)
    for _ in range(32):  # over the change of an hour, and of what is rolled up
        await world.write([(device, world.now - MINUTE + timedelta(seconds=7)) for device in DEVICES], many=False)
        before = world.carried
        await world.run_round()
        assert world.carried - before == len(PAIRS), f"at {world.now}"
        world.now += MINUTE
    oldest = await connection.fetchval("SELECT min(closes) FROM vehicle_carried_sums")
    assert oldest >= world.now - BEHIND - 5 * MINUTE, "carried sums are added to"
    assert {row[0] for row in await connection.fetch("SELECT DISTINCT hour FROM meter_carried_sums")} == {
        (world.now - WINDOW).replace(minute=0) + hours * timedelta(hours=1) for hours in (0, 1)
    }
    await connection.close()
