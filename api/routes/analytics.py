"""Energy and efficiency of one vehicle or of many over 24 hours, and the efficiency trend of one vehicle."""

from datetime import UTC, datetime, time, timedelta
from itertools import chain, pairwise
from operator import itemgetter
from typing import Any

from fastapi import APIRouter, HTTPException, Request

from api.archive.energy import vehicle_energy_with_archive
from api.cells.cells import NEVER, Cell
from api.problems import problem_responses
from api.routes.parameters import End, FleetCells, VehicleCell, VehicleId, VehicleIds
from schemas.responses.base import Coverage
from schemas.responses.fleet import Performances, TrendDay, VehicleTrend
from schemas.responses.performance import Performance
from sql.analytics.efficiency import WINDOW, EnergySums, Thresholds, assess_efficiency
from sql.analytics.fault_state import JUDGED
from sql.analytics.trend import WINDOW_DAYS, Day, trend
from sql.queries import queries

router = APIRouter(prefix="/v1/analytics", tags=["analytics"])


@router.get(
    "/performance",
    operation_id="vehiclePerformances",
    summary="Energy, efficiency and temperature of up to 500 vehicles over 24 hours",
    responses=problem_responses(410, 422, 429, 503),
)
async def vehicle_performances(
    request: Request, cells: FleetCells, vehicle_ids: VehicleIds, end: End = None
) -> Performances:
    """Sums over `[end - 24 h, end)` of each vehicle, in the order of the parameters; a repeated vehicle is returned once."""
    closes = end or datetime.now(UTC)
    thresholds = Thresholds.from_settings(request.app.state.settings)

    async def evaluate(cell: Cell) -> list[tuple[datetime, Performance]]:
        """The vehicles of a cell, each with the time of its newest reading."""
        async with cell.database.acquire() as connection:
            rows = queries.known_vehicles(connection, vehicle_ids=vehicle_ids)
            newest = {row["vehicle_id"]: row["recorded_at"] or NEVER async for row in rows}
            windows = [(closes - WINDOW, closes)] * len(newest)
            energies = await vehicle_energy_with_archive(cell.archive, connection, list(newest), windows)
        return [(newest[row["vehicle_id"]], performance(row, thresholds)) for row in energies]

    answers = await cells.ask(evaluate)
    evaluated = sorted(chain.from_iterable(answers.parts.values()), key=itemgetter(0))
    found = {each.vehicle_id: each for _, each in evaluated}  # of a vehicle in several cells the newest
    return Performances(
        items=[found[each] for each in vehicle_ids if each in found],
        unknown=[each for each in vehicle_ids if each not in found],
        unavailable_cells=answers.unavailable,
    )


@router.get(
    "/performance/{vehicleId}",
    operation_id="vehiclePerformance",
    summary="Energy in, energy out, efficiency and temperature of a vehicle over 24 hours",
    responses=problem_responses(404, 410, 422, 429, 503),
)
async def vehicle_performance(
    request: Request, cell: VehicleCell, vehicle_id: VehicleId, end: End = None
) -> Performance:
    """Sums over `[end - 24 h, end)`. The readings of a meter count only while it was assigned to the vehicle."""
    closes = end or datetime.now(UTC)
    async with cell.database.acquire() as connection:
        (sums,) = await vehicle_energy_with_archive(cell.archive, connection, [vehicle_id], [(closes - WINDOW, closes)])
        known = [row async for row in queries.known_vehicles(connection, vehicle_ids=[vehicle_id])]
    if not known:
        raise HTTPException(404, f"vehicle {vehicle_id} is not known")
    return performance(sums, Thresholds.from_settings(request.app.state.settings))


@router.get(
    "/trend/{vehicleId}",
    operation_id="vehicleTrend",
    summary="Efficiency trend of a vehicle over its last 30 days",
    responses=problem_responses(404, 410, 422, 429, 503),
)
async def vehicle_trend(request: Request, cell: VehicleCell, vehicle_id: VehicleId, end: End = None) -> VehicleTrend:
    """The 30 UTC days before the day of `end`. Only days with enough energy and coverage count for the trend."""
    thresholds = Thresholds.from_settings(request.app.state.settings)
    today = datetime.combine((end or datetime.now(UTC)).date(), time(), UTC)
    midnights = [today - timedelta(days=back) for back in range(WINDOW_DAYS, -1, -1)]
    async with cell.database.acquire() as connection:
        known = [row async for row in queries.known_vehicles(connection, vehicle_ids=[vehicle_id])]
        periods = list(pairwise(midnights))
        rows = await vehicle_energy_with_archive(cell.archive, connection, [vehicle_id] * WINDOW_DAYS, periods)
    days = [
        (row["opens"].astimezone(UTC).date(), assess_efficiency(EnergySums.from_row(row), thresholds)) for row in rows
    ]
    if not known:
        raise HTTPException(404, f"vehicle {vehicle_id} is not known")
    fitted = trend(
        [Day(day, each.ratio if each.status in JUDGED else None) for day, each in days], thresholds.fault_below
    )
    return VehicleTrend(
        vehicle_id=vehicle_id,
        status=fitted.status,
        slope_per_day=fitted.slope,
        slope_low=fitted.slope_low,
        slope_high=fitted.slope_high,
        level=fitted.level,
        days_until_fault=fitted.days_until_fault,
        days=[
            TrendDay(day=day, efficiency_ratio=each.ratio, coverage=min(each.ac_coverage or 0.0, each.dc_coverage))
            for day, each in days
        ],
    )


def performance(row: Any, thresholds: Thresholds) -> Performance:
    """The response for a row of the query `energy_of`."""
    efficiency = assess_efficiency(EnergySums.from_row(row), thresholds)
    return Performance(
        vehicle_id=row["vehicle_id"],
        total_energy_consumed_ac=row["ac_kwh"] if row["assigned_seconds"] else None,
        total_energy_delivered_dc=row["dc_kwh"],
        efficiency_ratio=efficiency.ratio,
        average_battery_temp=row["average_battery_temp"],
        time_window_start=row["opens"],
        time_window_end=row["closes"],
        data_points=row["dc_points"],
        coverage=Coverage(ac=efficiency.ac_coverage, dc=efficiency.dc_coverage),
        status=efficiency.status,
        reason=efficiency.reason,
    )
