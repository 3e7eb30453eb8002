"""Live status: the newest reading of each vehicle and meter."""

from fastapi import APIRouter, HTTPException

from api.problems import problem_responses
from api.routes.parameters import After, Database, Limit, MeterId, VehicleId
from schemas.responses.devices import MeterPage, MeterStatus, VehiclePage, VehicleStatus
from sql.queries import queries

router = APIRouter(prefix="/v1", tags=["live status"])


@router.get("/vehicles/{vehicleId}", operation_id="vehicle", responses=problem_responses(404, 422, 429, 503))
async def vehicle(database: Database, vehicle_id: VehicleId) -> VehicleStatus:
    """The newest reading of a vehicle, by its timestamp."""
    async with database.acquire() as connection:
        row = await queries.vehicle_status(connection, vehicle_id=vehicle_id)
    if row is None:
        raise HTTPException(404, f"no reading of vehicle {vehicle_id} is stored")
    return VehicleStatus(**row)


@router.get("/meters/{meterId}", operation_id="meter", responses=problem_responses(404, 422, 429, 503))
async def meter(database: Database, meter_id: MeterId) -> MeterStatus:
    """The newest reading of a meter, by its timestamp."""
    async with database.acquire() as connection:
        row = await queries.meter_status(connection, meter_id=meter_id)
    if row is None:
        raise HTTPException(404, f"no reading of meter {meter_id} is stored")
    return MeterStatus(**row)


@router.get("/vehicles", operation_id="vehicles", responses=problem_responses(422, 429, 503))
async def vehicles(database: Database, after: After = "", limit: Limit = 100) -> VehiclePage:
    """Live status of all vehicles, ordered by id, page by page."""
    async with database.acquire() as connection:
        rows = [row async for row in queries.list_vehicle_status(connection, after=after, row_limit=limit + 1)]
    items = [VehicleStatus(**row) for row in rows[:limit]]
    return VehiclePage(items=items, next=items[-1].vehicle_id if len(rows) > limit else None)


@router.get("/meters", operation_id="meters", responses=problem_responses(422, 429, 503))
async def meters(database: Database, after: After = "", limit: Limit = 100) -> MeterPage:
    """Live status of all meters, ordered by id, page by page."""
    async with database.acquire() as connection:
        rows = [row async for row in queries.list_meter_status(connection, after=after, row_limit=limit + 1)]
    items = [MeterStatus(**row) for row in rows[:limit]]
    return MeterPage(items=items, next=items[-1].meter_id if len(rows) > limit else None)
