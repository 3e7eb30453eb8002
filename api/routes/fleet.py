"""All vehicles at once: the summary, the ranking, what ages."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query, Request

from api.fleet.summary import evaluate_fleet, last_summary, summary
from api.problems import documented
from api.routes.pagination import cursor, place
from api.routes.parameters import AfterCursor, Database, End, Limit, refused
from schemas.records.readings import ID_PATTERN
from schemas.responses.base import Coverage, Judgement
from schemas.responses.fleet import Aging, AgingVehicle, FleetSummary, RankedVehicle, Ranking
from sql.analytics.efficiency import Thresholds
from sql.queries import queries

Sort = Literal["efficiency", "energyAc", "energyDc", "temperature", "vehicleId"]
Order = Literal["asc", "desc"]
Search = Annotated[
    str, Query(max_length=64, pattern=r"^[^\x00]*$", description="part of the id, in capitals or small letters")
]
router = APIRouter(prefix="/v1/fleet", tags=["fleet"])


class Place(msgspec.Struct, frozen=True, array_like=True):
    """The last vehicle of a page of the ranking, and the order that it belongs to."""

    sort: Sort
    order: Order
    rank: float | None
    vehicle_id: Annotated[str, msgspec.Meta(pattern=ID_PATTERN)]


@router.get(
    "/summary",
    operation_id="fleetSummary",
    summary="Energy, efficiency and judgements of all vehicles over 24 hours, and what arrives now",
    responses=documented(422, 503),
)
async def fleet_summary(request: Request, database: Database, end: End = None) -> FleetSummary:
    """Without `end` the last evaluation, which is made every minute. With it all vehicles are judged now, which takes a while;
    faults, trends and what arrives are as of now all the same."""
    pace, limits = request.app.state.pace, Thresholds.from_settings(request.app.state.settings)
    if end is None:
        async with database.acquire() as connection:
            return await last_summary(connection, pace)
    async with request.app.state.judging, database.acquire() as connection:
        tally = await evaluate_fleet(connection, end, limits)
        return await summary(connection, pace, tally, datetime.now(UTC))


@router.get(
    "/ranking",
    operation_id="fleetRanking",
    summary="Vehicles by efficiency, energy or temperature, as last evaluated",
    responses=documented(422, 503),
)
async def fleet_ranking(
    database: Database,
    sort: Sort = "efficiency",
    order: Order = "asc",
    status: Judgement | None = None,
    search: Search = "",
    after: AfterCursor = None,
    limit: Limit = 100,
) -> Ranking:
    """Vehicles without a value come last in either order; equal ones in the order of their ids."""
    wanted: dict[str, Any] = {"status": status, "search": search}
    async with database.acquire() as connection:
        rows = queries.ranked_vehicles(
            connection,
            sort=sort,
            descending=order == "desc",
            ids_descending=(sort, order) == ("vehicleId", "desc"),
            row_limit=limit + 1,
            **_from(after, sort, order),
            **wanted,
        )
        found = [row async for row in rows]
        total = await queries.count_ranked_vehicles(connection, **wanted)
    items = [_ranked(row) for row in found[:limit]]
    last = found[limit - 1] if len(found) > limit else None
    return Ranking(items=items, total=total, next=last and cursor(Place(sort, order, last["rank"], last["vehicle_id"])))


@router.get(
    "/aging",
    operation_id="fleetAging",
    summary="Vehicles whose efficiency falls from day to day, soonest fault first",
    responses=documented(422, 503),
)
async def fleet_aging(database: Database, limit: Limit = 100) -> Aging:
    """As last computed from the days of each vehicle, once a day."""
    async with database.acquire() as connection:
        rows = [row async for row in queries.aging_vehicles(connection, row_limit=limit)]
    return Aging(items=[AgingVehicle(slope_per_day=row["slope"], **row) for row in rows])


def _from(after: str | None, sort: Sort, order: Order) -> dict[str, Any]:
    begins = place(after, Place)
    if begins is None:
        return {"after_rank": None, "after_id": None}
    if (begins.sort, begins.order) != (sort, order):
        raise refused("after", f"this place is of the order {begins.sort} {begins.order}, not of {sort} {order}")
    return {"after_rank": begins.rank, "after_id": begins.vehicle_id}


def _ranked(row: Any) -> RankedVehicle:
    return RankedVehicle(
        vehicle_id=row["vehicle_id"],
        efficiency_ratio=row["ratio"],
        status=row["status"],
        reason=row["reason"],
        total_energy_consumed_ac=row["ac_kwh"] if row["assigned_seconds"] else None,
        total_energy_delivered_dc=row["dc_kwh"],
        average_battery_temp=row["average_battery_temp"],
        coverage=Coverage(ac=row["ac_coverage"], dc=row["dc_coverage"]),
        soc=row["soc"],
        recorded_at=row["recorded_at"],
        fault_open=row["fault_open"],
        trend=row["trend"],
    )
