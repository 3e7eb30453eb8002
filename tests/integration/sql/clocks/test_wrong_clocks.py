"""Maintenance on a host or a database whose clock is wrong: nothing is deleted, and everything heals once the clock is right."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pydantic import SecretStr

from sql.connection import SESSION
from sql.maintenance.metrics import MaintenanceMetrics
from sql.maintenance.scheduler import maintain_once
from sql.partitions import begin_folding, midnight
from sql.queries import queries
from sql.settings import MaintainSettings
from tests.integration.sql.clocks.wrong_clocks import shift_database_clock, shift_host_clock
from tests.integration.sql.test_energy import Fleet
from tests.support.command import sql_command
from tests.support.database import Database
from tests.support.database_rows import insert_evaluation, insert_row
from tests.support.doctor import run_doctor
from tests.support.expired_months import fill_histories
from tests.support.responses import StartApi, body

pytestmark = pytest.mark.anyio

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
NOW = datetime.now(UTC).replace(second=0, microsecond=0)
SETTLED = "SELECT late_before <= now() AND complete_before > now() - interval '75 minutes' FROM rollup_state"
JUDGED = "SELECT vehicle_id, status, ratio, abs(extract(epoch FROM now() - window_end)) < 120 AS current FROM vehicle_efficiency"
HEALTHY = ("VEH-1", "healthy", 95.0, True)


@pytest.fixture
async def fleet(database: Database) -> AsyncIterator[Fleet]:
    """A vehicle that has charged for a month, up to now, with an efficiency of 95 %."""
    connection = await asyncpg.connect(database.migrator_url)
    found = Fleet(connection)
    await found.assign("VEH-1", "METER-1", NOW - 60 * DAY)
    await found.meter("METER-1", 0.2, NOW - 20 * DAY, NOW)
    await found.vehicle("VEH-1", 0.19, NOW - 20 * DAY, NOW)
    yield found
    await connection.close()


@pytest.fixture(autouse=True)
def replaceable_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets functions of the schema public stand for those of the server, in the sessions of this process."""
    monkeypatch.setitem(SESSION, "search_path", "public, pg_catalog")


class Rounds:
    """Rounds of maintenance in this process."""

    def __init__(self, database: Database) -> None:
        self._settings = MaintainSettings(database_url=SecretStr(database.migrator_url))
        self.metrics = MaintenanceMetrics()

    async def run(self) -> dict[str, str]:
        """One round; the result of each task."""
        lines: list[str] = []
        await maintain_once(self._settings, self.metrics, lines.append)
        return {name: result.split(",")[0] for name, _, result in (line.partition(": ") for line in lines)}


async def everything(database: Database) -> tuple[int, int]:
    return (
        await database.value("SELECT count(*) FROM meter_readings"),
        await database.value("SELECT count(*) FROM vehicle_readings"),
    )


async def energy(database: Database) -> tuple[Any, ...]:
    connection = await asyncpg.connect(database.reader_url)
    try:
        rows = queries.energy_of(connection, vehicle_ids=["VEH-1"], opens=[NOW - 10 * DAY], closes=[NOW])
        (row,) = [row async for row in rows]
        return round(row["ac_kwh"], 6), round(row["dc_kwh"], 6), row["dc_points"]
    finally:
        await connection.close()


async def test_the_clock_of_the_host_decides_about_nothing(
    fleet: Fleet, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill_histories(database)  # of 2024, which retention drops when the clocks agree
    before = await everything(database)
    shift_host_clock(monkeypatch, 430 * DAY)
    found = await Rounds(database).run()
    assert {name for name, result in found.items() if result != "done"} == {"retention"}
    assert await everything(database) == before
    (judged,) = await database.fetch(JUDGED)
    assert tuple(judged) == HEALTHY
    assert await database.value(SETTLED)
    assert "this host's" in await database.value("SELECT error FROM maintenance_runs WHERE task = 'retention'")

    monkeypatch.undo()
    assert set((await Rounds(database).run()).values()) == {"done"}
    assert await everything(database) < before, "the month is dropped once the clocks agree"


@pytest.mark.parametrize("offset", [DAY, 430 * DAY], ids=["a day ahead", "430 days ahead"])
async def test_a_database_whose_clock_was_ahead_loses_nothing_and_heals(
    fleet: Fleet,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    start_api: StartApi,
    environment: dict[str, str],
    tmp_path: Path,
    offset: timedelta,
) -> None:
    before, energy_before = await everything(database), await energy(database)
    with monkeypatch.context() as wrong:
        shift_host_clock(wrong, offset)  # the database runs on this host
        await shift_database_clock(database, offset)
        found = await Rounds(database).run()
        assert (found["retention"] == "done") == (offset == DAY), "a day late is too little to drop a month"
        assert await everything(database) == before
    await shift_database_clock(database, timedelta(0))

    assert await database.value("SELECT window_end > now() FROM vehicle_efficiency")
    client = start_api()
    assert body(client.get("/v1/fleet/summary"))["stale"] is True
    _, _, findings = await run_doctor(sql_command(environment, database, tmp_path))
    assert (findings["clocks"]["level"], "ahead of the clock" in findings["clocks"]["what"]) == ("warn", True)
    assert await energy(database) == energy_before

    assert set((await Rounds(database).run()).values()) == {"done"}
    (judged,) = await database.fetch(JUDGED)
    assert tuple(judged) == HEALTHY
    assert await database.value(SETTLED)
    assert await database.value("SELECT bool_and(last_day < now()) FROM vehicle_trends")
    assert await energy(database) == energy_before
    assert body(client.get("/v1/fleet/summary"))["stale"] is False
    _, _, findings = await run_doctor(sql_command(environment, database, tmp_path))
    assert findings["clocks"]["level"] == "ok"


async def test_dead_letters_and_alerts_are_kept_while_the_clocks_disagree(fleet: Fleet, database: Database) -> None:
    for number, age in enumerate((DAY, 100 * DAY)):
        await database.fetch(
            'INSERT INTO dead_letters (consumer_group, topic, partition, "offset", reason, detail, resolved_at, resolution) '
            "VALUES ('g', 't', 0, $1, 'not_json', '', $2, 'discarded')",
            number, NOW - age,
        )  # fmt: skip
        await insert_row(database, "alert_outbox", key="VEH-1", value="{}", published_at=NOW - age)
    counts = "SELECT (SELECT count(*) FROM dead_letters), (SELECT count(*) FROM alert_outbox)"
    await shift_database_clock(database, 430 * DAY)
    assert (await Rounds(database).run())["dead_letters"] == "failed"
    assert tuple((await database.fetch(counts))[0]) == (2, 2)
    await shift_database_clock(database, timedelta(0))
    assert (await Rounds(database).run())["dead_letters"] == "done"
    assert tuple((await database.fetch(counts))[0]) == (1, 1)


async def test_a_fault_of_the_future_can_be_closed(fleet: Fleet, database: Database) -> None:
    await insert_row(
        database, "efficiency_faults", vehicle_id="VEH-1", meter_ids=["METER-1"], opened_at=NOW + DAY, opened_ratio=71.0,
        opened_ac_kwh=10.0, opened_dc_kwh=7.1, lowest_ratio=70.0,
    )  # fmt: skip
    await insert_evaluation_of_the_future(database)
    assert (await Rounds(database).run())["evaluation"] == "done"
    assert await database.value("SELECT closed_at = opened_at FROM efficiency_faults")
    assert await database.value("SELECT status FROM vehicle_efficiency") == "healthy"


async def insert_evaluation_of_the_future(database: Database) -> None:
    """Of a vehicle that needs one more good evaluation to close its fault."""
    await insert_evaluation(database, "VEH-1", NOW + DAY, sound_in_a_row=4)


async def test_folding_does_not_begin_in_the_future(database: Database) -> None:
    """Its watermarks never move back."""

    async def begin() -> datetime | None:
        connection = await asyncpg.connect(database.migrator_url)
        try:
            await begin_folding(connection, await queries.database_clock(connection), 3)
            state = await queries.folding_state(connection)
        finally:
            await connection.close()
        return state["folding_before"]  # type: ignore[no-any-return]

    await shift_database_clock(database, 430 * DAY)
    assert await begin() is None
    await shift_database_clock(database, timedelta(0))
    assert await begin() == midnight(datetime.now(UTC)) - 3 * DAY
