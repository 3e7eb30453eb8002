"""Several cells behind one read service: its answers equal those of one database that has all of their rows."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.stack.servers import Servers
from tests.faults.proxy import Proxy
from tests.support.command import sql_command
from tests.support.database import Database, new_database
from tests.support.database_rows import (
    insert_assignment,
    insert_evaluation,
    insert_fault,
    insert_row,
    insert_trend,
    insert_unassigned_evaluation,
    update_fleet_totals,
)
from tests.support.records import minute
from tests.support.responses import StartApi, body, pages, problem
from tests.support.waiting import until

pytestmark = pytest.mark.anyio
NOON = minute(0)
TOMORROW = (NOON + timedelta(hours=24)).isoformat().replace("+00:00", "Z")
VEHICLES = [f"VEH-{number}" for number in range(9)]
TABLES = {
    "vehicle_id": ("vehicle_telemetry_history", "vehicle_live_status", "vehicle_efficiency", "efficiency_faults",
                   "vehicle_trends", "vehicle_meter_assignments"),
    "meter_id": ("meter_telemetry_history", "meter_live_status"),
}  # fmt: skip
NORTH = "[02468]$"  # the cell `north` has the devices whose number is even, `south` the others


@dataclass(frozen=True, slots=True)
class SplitFleet:
    """One database with all rows, and two that share them out by device."""

    whole: Database
    north: Database
    south: Database

    @property
    def cells(self) -> dict[str, str]:
        """The settings of a read service for both cells."""
        return cell_settings(north=self.north.reader_url, south=self.south.reader_url)


def cell_settings(**urls: str) -> dict[str, str]:
    listed = "\n".join(f"{name}={url}" for name, url in urls.items())
    return {"DATABASE_CELLS": listed, "DATABASE_READ_URL": "", "INGESTION_ENABLED": "false"}


@pytest.fixture
def fleet(stack: Servers, database: Database) -> Iterator[SplitFleet]:
    asyncio.run(_fill(database))
    with ExitStack() as exits:
        cells = [
            exits.enter_context(new_database(stack, f"{database.name}_{cell}", database)) for cell in ("north", "south")
        ]
        asyncio.run(_keep(cells[0], "!~"))
        asyncio.run(_keep(cells[1], "~"))
        yield SplitFleet(database, *cells)


async def _fill(database: Database) -> None:
    evaluated = datetime.now(UTC)
    for number, vehicle in enumerate(VEHICLES):
        meter = f"METER-{number}"
        await insert_assignment(database, vehicle, meter)
        for each in range(3):
            at, kwh = minute(each), 1.0 + number
            row: dict[str, Any] = {"vehicle_id": vehicle, "recorded_at": at, "kwh_delivered_dc": kwh * 0.9}
            await insert_row(database, "vehicle_telemetry_history", **row, soc=50.0, battery_temp=20.0 + number)
            await insert_row(
                database, "meter_telemetry_history", meter_id=meter, recorded_at=at, kwh_consumed_ac=kwh, voltage=230.0
            )
        live = {"recorded_at": minute(number), "updated_at": NOON}
        await insert_row(
            database,
            "vehicle_live_status",
            vehicle_id=vehicle,
            soc=50.0,
            last_kwh_delivered_dc=kwh,
            last_battery_temp=20.0,
            **live,
        )
        await insert_row(
            database, "meter_live_status", meter_id=meter, last_kwh_consumed_ac=kwh, last_voltage=230.0, **live
        )
        sums = {"ac_kwh": 10.0 * (number % 4), "dc_kwh": 9.0 * (number % 4), "average_battery_temp": 20.0 + number % 3}
        if number == 7:
            await insert_unassigned_evaluation(database, vehicle, evaluated)
        else:
            await insert_evaluation(database, vehicle, evaluated, ratio=80.0 + number // 2, **sums)
        await insert_fault(database, vehicle, minute(number))
        await insert_trend(database, vehicle, "aging", None if number == 3 else float(number % 5))


async def _keep(cell: Database, others: str) -> None:
    """Deletes the devices of the other cell."""
    for column, tables in TABLES.items():
        for table in tables:
            await cell.execute(f"DELETE FROM {table} WHERE {column} {others} '{NORTH}'")
    await update_fleet_totals(cell)


async def test_all_answers_equal_those_of_one_database_also_after_devices_were_moved(
    fleet: SplitFleet, start_api: StartApi, environment: dict[str, str], tmp_path: Path
) -> None:
    whole = await asyncio.to_thread(start_api, DATABASE_URL=fleet.whole.reader_url)
    cells = await asyncio.to_thread(start_api, **fleet.cells)
    await asyncio.to_thread(compare_answers, whole, cells)

    (tmp_path / "devices").write_text("VEH-2\nMETER-4\n")
    moved, _ = await sql_command(environment, fleet.north).succeed(
        "cells", "move", "--devices", str(tmp_path / "devices"), TARGET_DATABASE_URL=fleet.south.migrator_url
    )

    assert moved.startswith("2 vehicles and 2 meters moved\n"), "with what is assigned to them"
    for cell in (fleet.north, fleet.south):
        await update_fleet_totals(cell)
    assert await fleet.north.value("SELECT count(*) FROM vehicle_readings WHERE vehicle_id IN ('VEH-2', 'VEH-4')") == 0
    await asyncio.to_thread(compare_answers, whole, cells)


def compare_answers(whole: httpx.Client, cells: httpx.Client) -> None:
    for path in (
        *(f"/v1/analytics/performance/{each}?end={TOMORROW}" for each in VEHICLES),
        *(f"/v1/vehicles/{each}" for each in VEHICLES),
        "/v1/meters/METER-7",
        "/v1/analytics/trend/VEH-3",
        f"/v1/vehicles/VEH-3/history?to={TOMORROW}&from=2026-01-01T00:00:00Z",
        f"/v1/meters/METER-4/history?to={TOMORROW}&from=2026-01-01T00:00:00Z&resolution=day&limit=1000",
        f"/v1/analytics/performance?vehicleId=VEH-8&vehicleId=VEH-404&vehicleId=VEH-1&end={TOMORROW}",
        "/v1/fleet/aging",
        "/v1/fleet/ranking?search=eh-1",
        "/v1/dead-letters",
    ):
        assert body(cells.get(path)) == body(whole.get(path)), path
    for path in ("/v1/vehicles/VEH-404", "/v1/analytics/performance/VEH-404", "/v1/meters/METER-404/history"):
        assert problem(cells.get(path), 404) == problem(whole.get(path), 404)
    assert summary(cells) == summary(whole)
    for limit in (1, 2, 5):
        for path in ("/v1/vehicles", "/v1/meters"):
            assert pages(cells, path, limit=limit) == pages(whole, path, limit=limit)
        for sort in ("efficiency", "energyAc", "energyDc", "temperature", "vehicleId"):
            for order in ("asc", "desc"):
                ranked = {"sort": sort, "order": order, "limit": limit}
                assert pages(cells, "/v1/fleet/ranking", **ranked) == pages(whole, "/v1/fleet/ranking", **ranked), (
                    ranked
                )
        listed = pages(cells, "/v1/faults", limit=limit)
        assert {fault["cell"] for page in listed for fault in page} == {"north", "south"}
        assert without_cell(listed) == pages(whole, "/v1/faults", limit=limit)


def summary(client: httpx.Client) -> dict[str, Any]:
    """The fleet summary without figures that depend on the instant of the request."""
    found: dict[str, Any] = body(client.get("/v1/fleet/summary"))
    found["live"].pop("freshnessSeconds")
    return found


def without_cell(listed: list[list[Any]]) -> list[list[Any]]:
    return [[{name: value for name, value in fault.items() if name != "cell"} for fault in page] for page in listed]


async def test_a_cell_that_does_not_respond_is_named_and_the_others_answer(
    fleet: SplitFleet, start_api: StartApi
) -> None:
    async with Proxy(fleet.south.reader_url) as south:
        client = await asyncio.to_thread(start_api, **cell_settings(north=fleet.north.reader_url, south=south.url))

        async def get(path: str) -> httpx.Response:
            return await asyncio.to_thread(client.get, path)

        async def missing() -> list[str]:
            return body(await get("/v1/vehicles")).get("unavailableCells", [])  # type: ignore[no-any-return]

        assert await missing() == []
        south.delay_seconds = 3600
        await until(missing, "the frozen cell is named")

        north = [each for each in VEHICLES if int(each[-1]) % 2 == 0]
        listed = body(await get("/v1/fleet/ranking?sort=vehicleId"))
        assert [each["vehicleId"] for each in listed["items"]] == north
        assert (listed["total"], listed["unavailableCells"]) == (5, ["south"])
        assert body(await get("/v1/fleet/summary"))["vehicles"] == 5
        assert body(await get("/v1/vehicles/VEH-2"))["vehicleId"] == "VEH-2"
        assert "the cell south does not respond" in problem(await get("/v1/vehicles/VEH-1"), 503)["detail"]
        ready = body(await get("/readyz"))
        assert (ready["status"], list(ready["waitingFor"])) == ("ok", ["cell south"])
        assert 'energy_api_cell_up{cell="south"} 0.0' in (await get("/metrics")).text

        south.delay_seconds = 0

        async def is_back() -> bool:
            return not await missing()

        await until(is_back, "the cell answers again")
        assert body(await get("/v1/vehicles/VEH-1"))["vehicleId"] == "VEH-1"


def test_a_vehicle_in_two_cells_is_answered_by_the_one_with_its_newest_reading(
    fleet: SplitFleet, start_api: StartApi
) -> None:
    """As while a device is moved from one cell to another."""
    newest = minute(100)
    asyncio.run(
        insert_row(
            fleet.south,
            "vehicle_live_status",
            vehicle_id="VEH-2",
            soc=77.0,
            last_kwh_delivered_dc=1.0,
            last_battery_temp=20.0,
            recorded_at=newest,
            updated_at=newest,
        )
    )
    client = start_api(**fleet.cells)
    assert body(client.get("/v1/vehicles/VEH-2"))["soc"] == 77
    (listed,) = pages(client, "/v1/vehicles")
    assert [each["vehicleId"] for each in listed] == VEHICLES, "each once"
    assert {each["vehicleId"]: each["soc"] for each in listed}["VEH-2"] == 77, "the newer one"
