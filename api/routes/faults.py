"""Efficiency faults: chargers that lose too much."""

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter

from api.problems import problem_responses
from api.routes.pagination import cursor, place
from api.routes.parameters import AfterCursor, Database, Limit, OneVehicle
from schemas.responses.history import Fault, Faults
from sql.queries import queries

router = APIRouter(prefix="/v1", tags=["faults"])


class Place(msgspec.Struct, frozen=True, array_like=True):
    """The last fault of a page."""

    fault_id: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


@router.get(
    "/faults",
    operation_id="faults",
    summary="Efficiency faults, open and closed, newest first",
    responses=problem_responses(422, 503),
)
async def faults(
    database: Database,
    state: Literal["open", "closed", "all"] = "all",
    vehicle_id: OneVehicle = None,
    after: AfterCursor = None,
    limit: Limit = 100,
) -> Faults:
    """A fault opens after several evaluations in a row below the threshold, and closes after several at a higher one."""
    begins = place(after, Place)
    async with database.acquire() as connection:
        rows = queries.list_faults(
            connection, state=state, vehicle_id=vehicle_id, before=begins and begins.fault_id, row_limit=limit + 1
        )
        found = [row async for row in rows]
    items = [_fault(row) for row in found[:limit]]
    return Faults(items=items, next=cursor(Place(items[-1].fault_id)) if len(found) > limit else None)


def _fault(row: Any) -> Fault:
    return Fault(opened_energy_ac=row["opened_ac_kwh"], opened_energy_dc=row["opened_dc_kwh"], **row)
