"""The whole fleet: summary, ranking, aging vehicles."""

from datetime import datetime
from functools import partial
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import APIRouter, Query, Request

from api.cells.cells import Answers, Cell, Cells, merge_rows
from api.database.routing import READ_ORIGIN, ReadOrigin, adopt_origin
from api.fleet.shared_work import SharedWork
from api.fleet.summary import FleetFigures, figures_of, last_figures, summarize
from api.problems import invalid_parameter, problem_responses
from api.routes.pagination import decode_cursor, encode_cursor
from api.routes.parameters import AfterCursor, End, FleetCells, Limit
from schemas.records.readings import ID_PATTERN
from schemas.responses.base import Coverage, Judgement
from schemas.responses.fleet import Aging, AgingVehicle, FleetSummary, RankedVehicle, Ranking
from sql.analytics.efficiency import Thresholds
from sql.queries import queries

Sort = Literal["efficiency", "energyAc", "energyDc", "temperature", "vehicleId"]
Order = Literal["asc", "desc"]
Search = Annotated[
    str, Query(max_length=64, pattern=r"^[^\x00]*$", description="part of the id, in upper or lower case")
]
MOST_SORTED: Final = 5_000  # matching vehicles that a request counts and sorts; of more, it reads the ranks in order
router = APIRouter(prefix="/v1/fleet", tags=["fleet"])


class RankingCursor(msgspec.Struct, frozen=True, array_like=True):
    """The last vehicle of a page, and the order of the ranking that the page belongs to."""

    sort: Sort
    order: Order
    rank: float | None
    vehicle_id: Annotated[str, msgspec.Meta(pattern=ID_PATTERN)]


@router.get(
    "/summary",
    operation_id="fleetSummary",
    summary="Energy, efficiency and status of all vehicles over 24 hours, and live figures",
    responses=problem_responses(422, 429, 503),
)
async def fleet_summary(request: Request, end: End = None) -> FleetSummary:
    """Without `end`: the last evaluation, which runs every minute. With `end`: all vehicles are evaluated now, which takes a
    while. Faults, trends and live figures are always those of now. Requests for the same `end` share one evaluation; when too
    many are queued, the response is 429."""
    state = request.app.state
    shared: SharedWork[tuple[FleetSummary, ReadOrigin]] = state.last_summary if end is None else state.fleet_evaluations
    summary, origin = await shared.result(end, partial(_summary, state, end))
    adopt_origin(origin)
    return summary


async def _summary(state: Any, end: datetime | None) -> tuple[FleetSummary, ReadOrigin]:
    """The summary, and where it was read from; runs in a task of its own."""
    origin = ReadOrigin()
    READ_ORIGIN.set(origin)

    async def figures(cell: Cell) -> FleetFigures:
        async with cell.database.acquire() as connection:
            if end is None:
                return await last_figures(connection)
            return await figures_of(connection, end, Thresholds.from_settings(state.settings))

    cells: Cells = state.cells
    answers = await cells.ask(figures)
    return summarize(answers.parts, state.reading_rates, answers.unavailable), origin


@router.get(
    "/ranking",
    operation_id="fleetRanking",
    summary="Vehicles by efficiency, energy or temperature, as last evaluated",
    responses=problem_responses(422, 429, 503),
)
async def fleet_ranking(
    cells: FleetCells,
    sort: Sort = "efficiency",
    order: Order = "asc",
    status: Judgement | None = None,
    search: Search = "",
    after: AfterCursor = None,
    limit: Limit = 100,
) -> Ranking:
    """Vehicles without a value come last in both orders; vehicles with equal values are ordered by id."""
    filters: dict[str, Any] = {"status": status, "search": search}
    position = {"sort": sort, "descending": order == "desc", "row_limit": limit + 1, **_start(after, sort, order)}

    async def page(cell: Cell) -> tuple[Any, list[Any]]:
        async with cell.database.acquire() as connection:
            found = await queries.count_ranked_vehicles(connection, most=MOST_SORTED + 1, **filters)
            few = found["counted"] <= MOST_SORTED
            rows = queries.ranked_vehicles(connection, few=few, **position, **filters)
            return found, [row async for row in rows] if found["counted"] else []

    answers = await cells.ask(page)
    rows = Answers({name: each[1] for name, each in answers.parts.items()}, answers.unavailable)
    by_id_descending = sort == "vehicleId" and order == "desc"
    ranked = merge_rows(rows, _rank, limit=limit + 1, descending=by_id_descending, device="vehicle_id")
    last = ranked[limit - 1] if len(ranked) > limit else None
    following = last and encode_cursor(RankingCursor(sort, order, last["rank"], last["vehicle_id"]))
    totals = [_total(found, search) for found, _ in answers.parts.values()]
    return Ranking(
        items=[_ranked(row) for row in ranked[:limit]],
        total=sum(total for total, _ in totals),
        total_is_exact=all(is_exact for _, is_exact in totals),
        next=following,
        unavailable_cells=answers.unavailable,
    )


def _rank(row: Any) -> tuple[bool, float, str]:
    """The position of a vehicle in the ranking. The database has turned the sign of the rank for a descending order."""
    return row["rank"] is None, row["rank"] or 0.0, row["vehicle_id"]


@router.get(
    "/aging",
    operation_id="fleetAging",
    summary="Vehicles whose efficiency declines from day to day, soonest fault first",
    responses=problem_responses(422, 429, 503),
)
async def fleet_aging(cells: FleetCells, limit: Limit = 100) -> Aging:
    """The trends are computed once a day from the daily efficiency of each vehicle."""
    answers = await cells.rows(partial(queries.aging_vehicles, row_limit=limit))
    rows = merge_rows(answers, _soonest_fault, limit=limit, device="vehicle_id")
    items = [AgingVehicle(slope_per_day=row["slope"], **row) for row in rows]
    return Aging(items=items, unavailable_cells=answers.unavailable)


def _soonest_fault(row: Any) -> tuple[bool, float, str]:
    return row["days_until_fault"] is None, row["days_until_fault"] or 0.0, row["vehicle_id"]


def _start(after: str | None, sort: Sort, order: Order) -> dict[str, Any]:
    cursor = decode_cursor(after, RankingCursor)
    if cursor is None:
        return {"after_rank": None, "after_id": None}
    if (cursor.sort, cursor.order) != (sort, order):
        raise invalid_parameter(
            "after", f"this cursor belongs to the order {cursor.sort} {cursor.order}, not to {sort} {order}"
        )
    return {"after_rank": cursor.rank, "after_id": cursor.vehicle_id}


def _total(found: Any, search: str) -> tuple[int, bool]:
    """The number of matching vehicles of a cell, and whether it is exact."""
    if found["counted"] <= MOST_SORTED:
        return found["counted"], True
    if search:
        return MOST_SORTED, False
    return max(found["counted"], found["evaluated"]), True


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
