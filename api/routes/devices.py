"""Live status: the newest reading of each vehicle and meter."""

from functools import partial
from typing import Any

from fastapi import APIRouter, HTTPException

from api.cells.cells import merge_rows
from api.problems import problem_responses
from api.routes.parameters import After, FleetCells, Limit, MeterCell, MeterId, VehicleCell, VehicleId
from schemas.responses.devices import MeterPage, MeterStatus, VehiclePage, VehicleStatus
from sql.queries import queries

router = APIRouter(prefix="/v1", tags=["live status"])


@router.get("/vehicles/{vehicleId}", operation_id="vehicle", responses=problem_responses(404, 422, 429, 503))
async def vehicle(cell: VehicleCell, vehicle_id: VehicleId) -> VehicleStatus:
    """The newest reading of a vehicle, by its timestamp."""
    async with cell.database.acquire() as connection:
        row = await queries.vehicle_status(connection, vehicle_id=vehicle_id)
    if row is None:
        raise HTTPException(404, f"no reading of vehicle {vehicle_id} is stored")
    return VehicleStatus(**row)


@router.get("/meters/{meterId}", operation_id="meter", responses=problem_responses(404, 422, 429, 503))
async def meter(cell: MeterCell, meter_id: MeterId) -> MeterStatus:
    """The newest reading of a meter, by its timestamp."""
    async with cell.database.acquire() as connection:
        row = await queries.meter_status(connection, meter_id=meter_id)
    if row is None:
        raise HTTPException(404, f"no reading of meter {meter_id} is stored")
    return MeterStatus(**row)


@router.get("/vehicles", operation_id="vehicles", responses=problem_responses(422, 429, 503))
async def vehicles(cells: FleetCells, after: After = "", limit: Limit = 100) -> VehiclePage:
    """Live status of all vehicles, ordered by id, page by page."""
    answers = await cells.rows(partial(queries.list_vehicle_status, after=after, row_limit=limit + 1))
    rows = merge_rows(answers, partial(_newest_first, "vehicle_id"), limit=limit + 1, device="vehicle_id")
    items = [VehicleStatus(**row) for row in rows[:limit]]
    following = items[-1].vehicle_id if len(rows) > limit else None
    return VehiclePage(items=items, next=following, unavailable_cells=answers.unavailable)


@router.get("/meters", operation_id="meters", responses=problem_responses(422, 429, 503))
async def meters(cells: FleetCells, after: After = "", limit: Limit = 100) -> MeterPage:
    """Live status of all meters, ordered by id, page by page."""
    answers = await cells.rows(partial(queries.list_meter_status, after=after, row_limit=limit + 1))
    rows = merge_rows(answers, partial(_newest_first, "meter_id"), limit=limit + 1, device="meter_id")
    items = [MeterStatus(**row) for row in rows[:limit]]
    following = items[-1].meter_id if len(rows) > limit else None
    return MeterPage(items=items, next=following, unavailable_cells=answers.unavailable)


def _newest_first(column: str, row: Any) -> tuple[str, float]:
    """The order of a list; of a device that is in two cells, the newer row comes first."""
    return row[column], -row["recorded_at"].timestamp()
