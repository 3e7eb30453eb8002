"""The database's rules for declared assignments, case by case and against a small model."""

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
Declaration = tuple[str, str, int, int | None]  # vehicle, meter, first minute, end minute
Stored = tuple[str, str, int, int | None]


async def declare(connection: Any, *declared: Declaration) -> list[tuple[str, str]]:
    """Declares assignments; returns outcome and detail of each."""
    found = queries.declare_assignments(
        connection,
        vehicle_ids=[each[0] for each in declared],
        meter_ids=[each[1] for each in declared],
        starts=[minute(each[2]) for each in declared],
        ends=[_instant(each[3]) for each in declared],
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


CASES: dict[str, tuple[list[Declaration], list[str], set[Stored]]] = {
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
@pytest.mark.parametrize(("declared", "outcomes", "stored_after"), CASES.values(), ids=CASES)
async def test_each_case(
    database: Database, declared: list[Declaration], outcomes: list[str], stored_after: set[Stored]
) -> None:
    connection = await asyncpg.connect(database.writer_url)
    try:
        found = await declare(connection, *declared)
        assert [outcome for outcome, _ in found] == outcomes
        assert await stored(connection) == stored_after
        assert await connection.fetchval("SELECT count(*) FROM assignment_declarations") == outcomes.count("written")
    finally:
        await connection.close()


@anyio
async def test_an_overlap_names_the_assignment_it_overlaps_with(database: Database) -> None:
    connection = await asyncpg.connect(database.writer_url, server_settings={"timezone": "Asia/Tokyo"})
    try:
        _, (_, detail) = await declare(connection, ("V", "M", 0, 20), ("W", "M", 10, None))
    finally:
        await connection.close()
    assert detail == f'V is at M during ["{minute(0):%Y-%m-%d %H:%M:%S}+00","{minute(20):%Y-%m-%d %H:%M:%S}+00")'


@anyio
async def test_an_import_waits_for_a_declaration_and_is_rejected_where_it_contradicts(database: Database) -> None:
    declaring, importing = (
        await asyncpg.connect(database.writer_url),
        await asyncpg.connect(database.migrator_url, server_settings={"application_name": "energy-consumer"}),
    )
    line = Assignment(2, "W", "M", minute(10), minute(20))
    try:
        async with declaring.transaction():
            await declare(declaring, ("V", "M", 0, 30))
            rejected = asyncio.create_task(write_assignments(importing, [line], "csv"))
            await until(lambda: waits_for_lock(database, wrote=False), "the import waits")
        with pytest.raises(AssignmentError, match="overlaps"):
            await rejected
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
    """The latest declaration of each (vehicle, beginning); open ones end where the next one of the vehicle or meter begins."""

    declared: dict[tuple[str, int], tuple[str, int | None]] = field(default_factory=dict)

    def declare(self, vehicle: str, meter: str, start: int, end: int | None) -> str:
        if self.declared.get((vehicle, start)) == (meter, end):
            return "duplicate"
        after = Model(self.declared | {(vehicle, start): (meter, end)})
        if any(_overlap(*pair) for pair in combinations(after.rows(), 2)):
            return "overlap"
        self.declared = after.declared
        return "written"

    def rows(self) -> set[Stored]:
        rows = {(vehicle, meter, start, end) for (vehicle, start), (meter, end) in self.declared.items()}
        return {
            (vehicle, meter, start, end if end is not None else self._next(vehicle, meter, start))
            for vehicle, meter, start, end in rows
        }

    def _next(self, vehicle: str, meter: str, begun: int) -> int | None:
        starts = [
            start
            for (each, start), (of_meter, _) in self.declared.items()
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


async def _truncate(connection: Any) -> None:
    await connection.execute("TRUNCATE vehicle_meter_assignments, assignment_declarations")


VEHICLES, METERS, MINUTES = st.sampled_from("VWX"), st.sampled_from("MNO"), st.integers(0, 8)
DECLARATIONS = st.tuples(VEHICLES, METERS, MINUTES, st.none() | st.none() | st.integers(1, 9)).filter(
    lambda each: each[3] is None or each[3] > each[2]
)


def test_declarations_behave_like_the_model(runner: asyncio.Runner, connection: Any) -> None:
    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.lists(DECLARATIONS, min_size=1, max_size=4), max_size=8))
    def check(batches: list[list[Declaration]]) -> None:
        runner.run(_truncate(connection))
        model = Model()
        for declared in batches:
            outcomes = [outcome for outcome, _ in runner.run(declare(connection, *declared))]
            assert outcomes == [model.declare(*each) for each in declared]
            assert runner.run(stored(connection)) == model.rows()

    check()


def _distinct(each: list[Declaration]) -> list[Declaration]:
    """Declarations without two of one vehicle, or of one meter, that begin at the same instant."""
    vehicles = {(one[0], one[2]): one for one in each}
    return list({(one[1], one[2]): one for one in vehicles.values()}.values())


OPEN: st.SearchStrategy[Declaration] = st.tuples(VEHICLES, METERS, MINUTES, st.none())


def test_the_order_in_which_open_assignments_arrive_does_not_matter(runner: asyncio.Runner, connection: Any) -> None:
    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        st.lists(OPEN, max_size=12).map(_distinct).flatmap(lambda each: st.tuples(st.just(each), st.permutations(each)))
    )
    def check(orders: tuple[list[Declaration], list[Declaration]]) -> None:
        results = []
        for declared in orders:
            runner.run(_truncate(connection))
            assert all(outcome == "written" for outcome, _ in runner.run(declare(connection, *declared)))
            results.append(runner.run(stored(connection)))
        assert results[0] == results[1]

    check()
