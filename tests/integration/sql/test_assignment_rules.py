"""The database's rules for declared assignments, case by case and against a model of a few lines."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import combinations
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sql.assign import Assignment, AssignmentError, write_assignments
from sql.queries import queries
from tests.support.database import Database, waits_for_lock
from tests.support.records import minute
from tests.support.waiting import until

anyio = pytest.mark.anyio
Said = tuple[str, str, int, int | None]  # vehicle, meter, minutes at which it begins and ends
Stored = tuple[str, str, int, int | None]


async def declare(connection: Any, *said: Said) -> list[tuple[str, str]]:
    """What became of each, and why."""
    found = queries.declare_assignments(
        connection,
        vehicle_ids=[each[0] for each in said],
        meter_ids=[each[1] for each in said],
        starts=[minute(each[2]) for each in said],
        ends=[_instant(each[3]) for each in said],
        origin="kafka:assignments",
    )
    return [(row["outcome"], row["detail"]) async for row in found]


def _instant(number: int | None) -> datetime | None:
    return None if number is None else minute(number)


async def stored(connection: Any) -> set[Stored]:
    rows = await connection.fetch(
        "SELECT vehicle_id, meter_id, lower(valid_during), upper(valid_during) FROM vehicle_meter_assignments"
    )
    return {(vehicle, meter, _minute(start), end and _minute(end)) for vehicle, meter, start, end in rows}


def _minute(instant: datetime) -> int:
    return round((instant - minute(0)).total_seconds() / 60)


CASES: dict[str, tuple[list[Said], list[str], set[Stored]]] = {
    "a swap ends what was open": (
        [("V", "M", 0, None), ("V", "N", 30, None)],
        ["written", "written"],
        {("V", "M", 0, 30), ("V", "N", 30, None)},
    ),
    "one that arrives last may lie in between": (
        [("V", "M", 0, None), ("V", "O", 60, None), ("V", "N", 30, None)],
        ["written", "written", "written"],
        {("V", "M", 0, 30), ("V", "N", 30, 60), ("V", "O", 60, None)},
    ),
    "a meter is taken over by another vehicle": (
        [("V", "M", 0, None), ("W", "M", 30, None), ("V", "N", 45, None)],
        ["written", "written", "written"],
        {("V", "M", 0, 30), ("W", "M", 30, None), ("V", "N", 45, None)},
    ),
    "a correction of the meter gives the wrong one back": (
        [("W", "N", 0, None), ("V", "N", 30, None), ("V", "M", 30, None)],
        ["written", "written", "written"],
        {("W", "N", 0, None), ("V", "M", 30, None)},
    ),
    "given back only up to where the next one begins": (
        [("W", "N", 0, None), ("V", "N", 30, None), ("W", "O", 40, None), ("V", "M", 30, None)],
        ["written", "written", "written", "written"],
        {("W", "N", 0, 40), ("W", "O", 40, None), ("V", "M", 30, None)},
    ),
    "a correction of the end": (
        [("V", "M", 0, None), ("V", "M", 0, 20), ("V", "N", 30, None)],
        ["written", "written", "written"],
        {("V", "M", 0, 20), ("V", "N", 30, None)},
    ),
    "an end that is taken back": (
        [("V", "M", 0, 20), ("V", "N", 30, None), ("V", "M", 0, None)],
        ["written", "written", "written"],
        {("V", "M", 0, 30), ("V", "N", 30, None)},
    ),
    "the same again": (
        [("V", "M", 0, 20), ("V", "M", 0, 20), ("V", "N", 30, None), ("V", "N", 30, None)],
        ["written", "duplicate", "written", "duplicate"],
        {("V", "M", 0, 20), ("V", "N", 30, None)},
    ),
    "a closed one gives way to nothing": (
        [("V", "M", 0, 20), ("V", "N", 10, None), ("W", "M", 19, 25), ("W", "M", 20, 25)],
        ["written", "overlap", "overlap", "written"],
        {("V", "M", 0, 20), ("W", "M", 20, 25)},
    ),
    "a closed one cannot hold what begins within it": (
        [("V", "M", 10, None), ("V", "N", 0, 20), ("V", "N", 0, 10)],
        ["written", "overlap", "written"],
        {("V", "N", 0, 10), ("V", "M", 10, None)},
    ),
    "a meter cannot feed two vehicles from one instant on": (
        [("V", "M", 0, None), ("W", "M", 0, None)],
        ["written", "overlap"],
        {("V", "M", 0, None)},
    ),
    "a correction that overlaps changes nothing": (
        [("V", "M", 0, 20), ("W", "N", 0, 20), ("W", "M", 0, 20)],
        ["written", "written", "overlap"],
        {("V", "M", 0, 20), ("W", "N", 0, 20)},
    ),
}


@anyio
@pytest.mark.parametrize(("said", "outcomes", "left"), CASES.values(), ids=CASES)
async def test_a_case(database: Database, said: list[Said], outcomes: list[str], left: set[Stored]) -> None:
    connection = await asyncpg.connect(database.writer_url)
    try:
        found = await declare(connection, *said)
        assert [outcome for outcome, _ in found] == outcomes
        assert await stored(connection) == left
        assert await connection.fetchval("SELECT count(*) FROM assignment_declarations") == outcomes.count("written")
    finally:
        await connection.close()


@anyio
async def test_an_overlap_says_with_what(database: Database) -> None:
    connection = await asyncpg.connect(database.writer_url, server_settings={"timezone": "Asia/Tokyo"})
    try:
        _, (_, detail) = await declare(connection, ("V", "M", 0, 20), ("W", "M", 10, None))
    finally:
        await connection.close()
    assert detail == f'V is at M during ["{minute(0):%Y-%m-%d %H:%M:%S}+00","{minute(20):%Y-%m-%d %H:%M:%S}+00")'


@anyio
async def test_a_file_waits_for_whoever_declares_and_is_refused_where_it_contradicts(database: Database) -> None:
    declaring, importing = (
        await asyncpg.connect(database.writer_url),
        await asyncpg.connect(database.migrator_url, server_settings={"application_name": "energy-consumer"}),
    )
    line = Assignment(2, "W", "M", minute(10), minute(20))
    try:
        async with declaring.transaction():
            await declare(declaring, ("V", "M", 0, 30))
            refused = asyncio.create_task(write_assignments(importing, [line], "csv"))
            await until(lambda: waits_for_lock(database, wrote=False), "the import waits")
        with pytest.raises(AssignmentError, match="overlaps"):
            await refused
    finally:
        await declaring.close()
        await importing.close()


@anyio
async def test_an_open_assignment_of_a_file_ends_where_a_declared_one_begins(database: Database) -> None:
    connection = await asyncpg.connect(database.migrator_url)
    try:
        await write_assignments(connection, [Assignment(2, "V", "M", minute(0), None)], "csv")
        await declare(connection, ("V", "N", 30, None), ("V", "O", 10, None))
        assert await stored(connection) == {("V", "M", 0, 10), ("V", "O", 10, 30), ("V", "N", 30, None)}
    finally:
        await connection.close()


@dataclass(slots=True)
class Model:
    """The last word on each (vehicle, beginning); open ones end where the next of their vehicle or meter begins."""

    said: dict[tuple[str, int], tuple[str, int | None]] = field(default_factory=dict)

    def declare(self, vehicle: str, meter: str, start: int, end: int | None) -> str:
        if self.said.get((vehicle, start)) == (meter, end):
            return "duplicate"
        after = Model(self.said | {(vehicle, start): (meter, end)})
        if any(_overlap(*pair) for pair in combinations(after.rows(), 2)):
            return "overlap"
        self.said = after.said
        return "written"

    def rows(self) -> set[Stored]:
        rows = {(vehicle, meter, start, end) for (vehicle, start), (meter, end) in self.said.items()}
        return {
            (vehicle, meter, start, end if end is not None else self._next(vehicle, meter, start))
            for vehicle, meter, start, end in rows
        }

    def _next(self, vehicle: str, meter: str, begun: int) -> int | None:
        starts = [
            start
            for (each, start), (of_meter, _) in self.said.items()
            if start > begun and (each == vehicle or of_meter == meter)
        ]
        return min(starts, default=None)


def _overlap(one: Stored, other: Stored) -> bool:
    if one[0] != other[0] and one[1] != other[1]:
        return False
    return _before(one[2], other[3]) and _before(other[2], one[3])


def _before(start: int, end: int | None) -> bool:
    return end is None or start < end


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as running:
        yield running


@pytest.fixture
def connection(runner: asyncio.Runner, database: Database) -> Iterator[Any]:
    opened = runner.run(asyncpg.connect(database.migrator_url))
    yield opened
    runner.run(opened.close())


async def _anew(connection: Any) -> None:
    await connection.execute("TRUNCATE vehicle_meter_assignments, assignment_declarations")


VEHICLES, METERS, MINUTES = st.sampled_from("VWX"), st.sampled_from("MNO"), st.integers(0, 8)
SAID = st.tuples(VEHICLES, METERS, MINUTES, st.none() | st.none() | st.integers(1, 9)).filter(
    lambda each: each[3] is None or each[3] > each[2]
)


def test_every_declaration_does_what_the_model_does(runner: asyncio.Runner, connection: Any) -> None:
    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.lists(SAID, min_size=1, max_size=4), max_size=8))
    def check(batches: list[list[Said]]) -> None:
        runner.run(_anew(connection))
        model = Model()
        for said in batches:
            outcomes = [outcome for outcome, _ in runner.run(declare(connection, *said))]
            assert outcomes == [model.declare(*each) for each in said]
            assert runner.run(stored(connection)) == model.rows()

    check()


def _once(each: list[Said]) -> list[Said]:
    """Declarations of which no two of a vehicle, nor of a meter, begin at one instant."""
    vehicles = {(said[0], said[2]): said for said in each}
    return list({(said[1], said[2]): said for said in vehicles.values()}.values())


OPEN: st.SearchStrategy[Said] = st.tuples(VEHICLES, METERS, MINUTES, st.none())


def test_the_order_in_which_open_assignments_arrive_makes_no_difference(
    runner: asyncio.Runner, connection: Any
) -> None:
    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(OPEN, max_size=12).map(_once).flatmap(lambda each: st.tuples(st.just(each), st.permutations(each))))
    def check(orders: tuple[list[Said], list[Said]]) -> None:
        left = []
        for said in orders:
            runner.run(_anew(connection))
            assert all(outcome == "written" for outcome, _ in runner.run(declare(connection, *said)))
            left.append(runner.run(stored(connection)))
        assert left[0] == left[1]

    check()
