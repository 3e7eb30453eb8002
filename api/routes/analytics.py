"""The last 24 hours of one vehicle or of many, and where the efficiency of one is heading."""

from datetime import UTC, datetime, time, timedelta
from typing import Any, Final

from fastapi import APIRouter, HTTPException, Request

from api.problems import documented
from api.routes.parameters import Database, End, VehicleId, VehicleIds
from schemas.responses.base import Coverage, Performance
from schemas.responses.fleet import Performances, TrendDay, VehicleTrend
from sql.analytics.efficiency import EnergySums, Thresholds, assess_efficiency
from sql.analytics.fault_state import JUDGED
from sql.analytics.trend import WINDOW_DAYS, Day, trend
from sql.queries import queries

WINDOW: Final = timedelta(hours=24)
router = APIRouter(prefix="/v1/analytics", tags=["analytics"])


@router.get(
    "/performance",
    operation_id="vehiclePerformances",
    summary="The same for up to 500 vehicles at once",
    responses=documented(422, 503),
)
async def vehicle_performances(
    request: Request, database: Database, vehicle_ids: VehicleIds, end: End = None
) -> Performances:
    """Sums over `[end - 24 h, end)` of each vehicle, in the order asked; one that is named twice is given once."""
    closes = end or datetime.now(UTC)
    limits = Thresholds.from_settings(request.app.state.settings)
    async with database.acquire() as connection:
        known = {row["vehicle_id"] async for row in queries.known_vehicles(connection, vehicle_ids=vehicle_ids)}
        asked = [each for each in vehicle_ids if each in known]
        number = len(asked)
        rows = queries.energy_of(
            connection, vehicle_ids=asked, opens=[closes - WINDOW] * number, closes=[closes] * number
        )
        items = [performance(row, limits) async for row in rows]
    return Performances(items=items, unknown=[each for each in vehicle_ids if each not in known])


@router.get(
    "/performance/{vehicleId}",
    operation_id="vehiclePerformance",
    summary="Energy in, energy out, efficiency and temperature of a vehicle over 24 hours",
    responses=documented(404, 422, 503),
)
async def vehicle_performance(
    request: Request, database: Database, vehicle_id: VehicleId, end: End = None
) -> Performance:
    """Sums over `[end - 24 h, end)`. A meter's readings count only while it was assigned to the vehicle."""
    closes = end or datetime.now(UTC)
    opens = closes - WINDOW
    async with database.acquire() as connection:
        rows = queries.energy_of(connection, vehicle_ids=[vehicle_id], opens=[opens], closes=[closes])
        (found,) = [row async for row in rows]
        known = [row async for row in queries.known_vehicles(connection, vehicle_ids=[vehicle_id])]
    if not known:
        raise HTTPException(404, f"nothing was ever heard of vehicle {vehicle_id}")
    return performance(found, Thresholds.from_settings(request.app.state.settings))


@router.get(
    "/trend/{vehicleId}",
    operation_id="vehicleTrend",
    summary="Where the efficiency of a vehicle is heading, from its last 30 days",
    responses=documented(404, 422, 503),
)
async def vehicle_trend(request: Request, database: Database, vehicle_id: VehicleId, end: End = None) -> VehicleTrend:
    """The 30 UTC days before that of `end`. A day bends the line only when it can be judged: enough energy and coverage."""
    limits = Thresholds.from_settings(request.app.state.settings)
    today = datetime.combine((end or datetime.now(UTC)).date(), time(), UTC)
    midnights = [today - timedelta(days=back) for back in range(WINDOW_DAYS, -1, -1)]
    async with database.acquire() as connection:
        known = [row async for row in queries.known_vehicles(connection, vehicle_ids=[vehicle_id])]
        rows = queries.energy_of(
            connection, vehicle_ids=[vehicle_id] * WINDOW_DAYS, opens=midnights[:-1], closes=midnights[1:]
        )
        days = [
            (row["opens"].astimezone(UTC).date(), assess_efficiency(EnergySums.from_row(row), limits))
            async for row in rows
        ]
    if not known:
        raise HTTPException(404, f"nothing was ever heard of vehicle {vehicle_id}")
    found = trend([Day(day, each.ratio if each.status in JUDGED else None) for day, each in days], limits.fault_below)
    return VehicleTrend(
        vehicle_id=vehicle_id,
        status=found.status,
        slope_per_day=found.slope,
        slope_low=found.slope_low,
        slope_high=found.slope_high,
        level=found.level,
        days_until_fault=found.days_until_fault,
        days=[
            TrendDay(day=day, efficiency_ratio=each.ratio, coverage=min(each.ac_coverage or 0.0, each.dc_coverage))
            for day, each in days
        ],
    )


def performance(found: Any, limits: Thresholds) -> Performance:
    """The answer for a row of the query `energy_of`."""
    efficiency = assess_efficiency(EnergySums.from_row(found), limits)
    return Performance(
        vehicle_id=found["vehicle_id"],
        total_energy_consumed_ac=found["ac_kwh"] if found["assigned_seconds"] else None,
        total_energy_delivered_dc=found["dc_kwh"],
        efficiency_ratio=efficiency.ratio,
        average_battery_temp=found["average_battery_temp"],
        time_window_start=found["opens"],
        time_window_end=found["closes"],
        data_points=found["dc_points"],
        coverage=Coverage(ac=efficiency.ac_coverage, dc=efficiency.dc_coverage),
        status=efficiency.status,
        reason=efficiency.reason,
    )
