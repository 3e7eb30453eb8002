"""Devices moved from one cell to another: every reading of every level is in one of them, once, also after a killed move."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from deploy.stack.servers import Servers
from sql.maintenance.folding import fold_days
from sql.maintenance.merging import merge_late_readings
from tests.integration.sql.history.levels import Levels, Readings, days_ago
from tests.support.command import Command, sql_command
from tests.support.database import COMMIT_LOCK, Database, new_database
from tests.support.database_rows import insert_assignment, insert_fault, insert_trend
from tests.support.records import meter, register, vehicle
from tests.support.waiting import until

pytestmark = pytest.mark.anyio
LATE = days_ago(4) + timedelta(minutes=7)  # of a day that is folded in the source
STAYS = "VEH-STAYS"
HOLD = f"""
CREATE FUNCTION hold_at_commit() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_advisory_xact_lock_shared({COMMIT_LOCK}); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER hold_at_commit AFTER INSERT ON moved_readings DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION hold_at_commit()"""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two cells, and the command that moves devices from the first to the second one."""

    source: Levels
    target: Levels
    command: Command
    arguments: tuple[str, ...] = ("cells", "move", "--first", "METER-1", "--last", "VEH-2")

    async def readings(self) -> tuple[Readings, Readings]:
        return await self.source.readings(), await self.target.readings()


@pytest.fixture(scope="module")
def prepared(stack: Servers, template: Database) -> Iterator[tuple[Database, Database]]:
    """The source has folded days and rows; the target has folded one day less, and knows no device."""
    with (
        new_database(stack, f"{template.name}_source", template) as source,
        ExitStack() as exits,
    ):
        asyncio.run(_on(source, lambda levels: levels.use_days(days_ago(5))))
        target = exits.enter_context(new_database(stack, f"{template.name}_target", source))
        asyncio.run(_on(target, _fold_but_two))
        asyncio.run(_on(source, _fill))
        yield source, target


async def _on(database: Database, work: Callable[[Levels], Awaitable[None]]) -> None:
    connection = await asyncpg.connect(database.migrator_url)
    try:
        await work(Levels(connection))
    finally:
        await connection.close()


async def _fill(levels: Levels) -> None:
    await levels.store(*(days_ago(day) for day in (5, 4, 3, 2, 1)))
    await levels.roll_up()
    await fold_days(levels.connection, datetime.now(UTC), after=timedelta(days=1), seconds=60)


async def _fold_but_two(levels: Levels) -> None:
    await levels.roll_up()
    await levels.connection.execute(
        "UPDATE rollup_state SET folding_before = $1, folded_before = $1, late_before = greatest(late_before, $1), "
        "complete_before = greatest(complete_before, $1)",
        days_ago(2),
    )


@pytest.fixture
def database(stack: Servers, prepared: tuple[Database, Database]) -> Iterator[Database]:
    with new_database(stack, f"{prepared[0].name}_copy", prepared[0]) as created:
        yield created


@pytest.fixture
def other_cell(stack: Servers, prepared: tuple[Database, Database]) -> Iterator[Database]:
    with new_database(stack, f"{prepared[1].name}_copy", prepared[1]) as created:
        yield created


@pytest.fixture
async def pair(
    database: Database, other_cell: Database, environment: dict[str, str], write: Any
) -> AsyncIterator[Pair]:
    """The source has late readings, registers, an assignment, a fault and a trend as well."""
    connections = [await asyncpg.connect(each.migrator_url) for each in (database, other_cell)]
    await write(
        vehicle=[vehicle("VEH-1", LATE), vehicle(STAYS, LATE)],
        meter=[meter("METER-2", LATE), meter("METER-3", days_ago(0))],
        register=[register("METER-1", LATE, 11.5), register("METER-1", days_ago(0), 60.0)],
    )
    await insert_assignment(database, "VEH-1", "METER-1")
    await insert_fault(database, "VEH-2", days_ago(1))
    await insert_trend(database, "VEH-2", "aging", 3.0)
    settings = environment | {"TARGET_DATABASE_URL": other_cell.migrator_url}
    yield Pair(Levels(connections[0]), Levels(connections[1]), sql_command(settings, database))
    for connection in connections:
        connection.terminate()


def of(readings: Readings, device: str, *, but: bool = False) -> Readings:
    """The readings of a device, or those of all others."""
    return {view: [row for row in rows if (device in row) is not but] for view, rows in readings.items()}


async def test_every_level_is_moved_and_what_is_not_selected_stays(
    pair: Pair, database: Database, other_cell: Database, write: Any
) -> None:
    before, _ = await pair.readings()
    ahead, _ = await pair.command.succeed(*pair.arguments, "--ahead")
    assert await pair.source.readings() == before, "nothing is deleted ahead"
    assert await other_cell.value("SELECT count(*) FROM meter_live_status") == 0, "and nothing is shown"
    await write(register=[register("METER-1", LATE + timedelta(minutes=1), 11.8)])
    await merge_late_readings(pair.source.connection, since=days_ago(400), seconds=60)
    before = await pair.source.readings()
    listed, _ = await pair.command.succeed(*pair.arguments, "--dry-run")
    moved, _ = await pair.command.succeed(*pair.arguments)

    assert "2 vehicles and 3 meters: " in ahead
    assert sorted(listed.splitlines()) == ["METER-2", "METER-3", "VEH-1 METER-1", "VEH-2"]
    total = sum(len(rows) for rows in of(before, STAYS, but=True).values())
    assert moved.startswith("2 vehicles and 3 meters moved\n")
    assert sum(int(line.split()[1].replace(",", "")) for line in moved.splitlines()[1:-1]) == total
    assert await pair.readings() == (of(before, STAYS), of(before, STAYS, but=True))
    for table in ("vehicle_live_status", "vehicle_meter_assignments", "efficiency_faults", "vehicle_trends"):
        there, here = [await each.value(f"SELECT count(*) FROM {table}") for each in (other_cell, database)]
        assert (there, here) == {"vehicle_live_status": (2, 1)}.get(table, (1, 0)), table
    assert await database.value("SELECT sum(readings) FROM moved_readings") == -await other_cell.value(
        "SELECT sum(readings) FROM moved_readings"
    )

    again, _ = await pair.command.succeed(*pair.arguments)
    assert again == "0 vehicles and 0 meters moved\n0 of them were new to the target\n"


async def test_a_killed_move_is_continued(pair: Pair, database: Database) -> None:
    """Between the COMMIT of the target and that of the source: everything is in both cells then."""
    before, _ = await pair.readings()
    await database.execute(HOLD)
    async with advisory_lock(database):
        process = await pair.command.start(*pair.arguments)

        async def commits() -> bool:
            return bool(
                await database.value(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND application_name = 'energy-move' "
                    "AND wait_event_type = 'Lock' AND query = 'COMMIT;'",
                    database.name,
                )
            )

        await until(commits, "the move commits in the source")
        process.kill()
        await process.communicate()
        await database.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND application_name = 'energy-move'",
            database.name,
        )
    assert await pair.readings() == (before, of(before, STAYS, but=True))

    moved, _ = await pair.command.succeed(*pair.arguments)

    assert moved.endswith("\n0 of them were new to the target\n")
    assert await pair.readings() == (of(before, STAYS), of(before, STAYS, but=True))


async def test_stragglers_are_moved_by_the_next_run_and_a_reading_in_both_cells_counts_once(
    pair: Pair, write: Any, database: Database, other_cell: Database
) -> None:
    await pair.command.succeed(*pair.arguments)
    _, there = await pair.readings()
    straggler, register_at = days_ago(0) + timedelta(minutes=3), days_ago(0) + timedelta(minutes=1)
    await write(
        vehicle=[vehicle("VEH-1", straggler), vehicle("VEH-1", LATE), vehicle("VEH-2", LATE)],
        register=[register("METER-1", register_at, 61.0)],
    )

    moved, _ = await pair.command.succeed(*pair.arguments)

    assert moved.startswith("2 vehicles and 1 meters moved\n")
    after_source, after = await pair.readings()
    assert after_source == of(after_source, STAYS)
    new = {view: [row for row in rows if row not in there[view]] for view, rows in after.items()}
    assert {view: len(rows) for view, rows in new.items()} == {
        "meter_readings": 1, "vehicle_readings": 2, "register_readings": 1,
    }  # fmt: skip
    assert await other_cell.value(
        "SELECT kwh_consumed_ac FROM meter_readings WHERE meter_id = 'METER-1' AND recorded_at = $1", register_at
    ) == pytest.approx(1.0), "the interval from the register before, which has come to the target"

    await write(vehicle=[vehicle("VEH-1", straggler, kwh=0.7)])
    message = await pair.command.fail(*pair.arguments)
    assert f"has another reading of VEH-1 at {straggler.isoformat()}" in message
    assert await database.value("SELECT count(*) FROM vehicle_live_status WHERE vehicle_id = 'VEH-1'") == 1
    await pair.command.succeed(*pair.arguments, "--discard-conflicts")
    assert (await pair.readings())[1] == after


async def test_what_cannot_be_moved_is_refused(pair: Pair, database: Database) -> None:
    same = await pair.command.fail(*pair.arguments, TARGET_DATABASE_URL=database.migrator_url)
    assert "both URLs lead to the same database" in same
    assert "give --first and --last, or --devices" in await pair.command.fail("cells", "move", "--first", "A")


@asynccontextmanager
async def advisory_lock(database: Database) -> AsyncIterator[None]:
    connection = await asyncpg.connect(database.migrator_url)
    await connection.execute(f"SELECT pg_advisory_lock({COMMIT_LOCK})")
    try:
        yield
    finally:
        await connection.close()
