"""Efficiency faults of chargers."""

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter

from api.cells.cells import ONLY, Cell, Cells, merge_rows
from api.problems import invalid_parameter, problem_responses
from api.routes.pagination import decode_cursor, encode_cursor
from api.routes.parameters import AfterCursor, FleetCells, Limit, OneVehicle
from schemas.responses.history import Fault, Faults
from sql.queries import queries

router = APIRouter(prefix="/v1", tags=["faults"])


FaultId = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class FaultCursor(msgspec.Struct, frozen=True, array_like=True):
    """The last fault that the pages so far have listed: of one database its id, of several cells by the name of each cell."""

    last: FaultId | dict[str, FaultId]


@router.get(
    "/faults",
    operation_id="faults",
    summary="Efficiency faults, open and closed, newest first",
    responses=problem_responses(422, 429, 503),
)
async def faults(
    cells: FleetCells,
    state: Literal["open", "closed", "all"] = "all",
    vehicle_id: OneVehicle = None,
    after: AfterCursor = None,
    limit: Limit = 100,
) -> Faults:
    """A fault opens after several consecutive evaluations below the threshold, and closes after several above a higher one."""
    last = _last_listed(cells, after)

    async def page(cell: Cell) -> list[Fault]:
        arguments = {"state": state, "vehicle_id": vehicle_id, "before": last.get(cell.name)}
        async with cell.database.acquire() as connection:
            rows = queries.list_faults(connection, row_limit=limit + 1, **arguments)
            return [_fault(row, cell.name or None) async for row in rows]

    answers = await cells.ask(page)
    listed = merge_rows(answers, lambda fault: fault.opened_at, limit=limit + 1, descending=True)
    items = listed[:limit]
    last |= {fault.cell or ONLY: fault.fault_id for fault in items}
    following = encode_cursor(FaultCursor(last.get(ONLY, last))) if len(listed) > limit else None
    return Faults(items=items, next=following, unavailable_cells=answers.unavailable)


def _last_listed(cells: Cells, after: str | None) -> dict[str, int]:
    """The last fault of each cell that the pages so far have listed."""
    cursor = decode_cursor(after, FaultCursor)
    if cursor is None:
        return {}
    last = cursor.last if isinstance(cursor.last, dict) else {ONLY: cursor.last}
    if not last.keys() <= {cell.name for cell in cells}:
        raise invalid_parameter("after", "this cursor belongs to other cells")
    return last


def _fault(row: Any, cell: str | None) -> Fault:
    return Fault(opened_energy_ac=row["opened_ac_kwh"], opened_energy_dc=row["opened_dc_kwh"], cell=cell, **row)
