"""Efficiency faults of chargers."""

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter

from api.problems import problem_responses
from api.routes.pagination import decode_cursor, encode_cursor
from api.routes.parameters import AfterCursor, Database, Limit, OneVehicle
from schemas.responses.history import Fault, Faults
from sql.queries import queries

router = APIRouter(prefix="/v1", tags=["faults"])


class FaultCursor(msgspec.Struct, frozen=True, array_like=True):
    """The last fault of a page."""

    fault_id: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


@router.get(
    "/faults",
    operation_id="faults",
    summary="Efficiency faults, open and closed, newest first",
    responses=problem_responses(422, 429, 503),
)
async def faults(
    database: Database,
    state: Literal["open", "closed", "all"] = "all",
    vehicle_id: OneVehicle = None,
    after: AfterCursor = None,
    limit: Limit = 100,
) -> Faults:
    """A fault opens after several consecutive evaluations below the threshold, and closes after several above a higher one."""
    cursor = decode_cursor(after, FaultCursor)
    async with database.acquire() as connection:
        rows = queries.list_faults(
            connection, state=state, vehicle_id=vehicle_id, before=cursor and cursor.fault_id, row_limit=limit + 1
        )
        listed = [row async for row in rows]
    items = [_fault(row) for row in listed[:limit]]
    return Faults(items=items, next=encode_cursor(FaultCursor(items[-1].fault_id)) if len(listed) > limit else None)


def _fault(row: Any) -> Fault:
    return Fault(opened_energy_ac=row["opened_ac_kwh"], opened_energy_dc=row["opened_dc_kwh"], **row)
