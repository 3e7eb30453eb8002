"""The last 24 hours of a vehicle."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from fastapi import APIRouter, HTTPException, Request

from api.problems import documented
from api.routes.parameters import Database, End, VehicleId
from schemas.answers import Coverage, Performance
from sql.efficiency import Sums, Thresholds, judge
from sql.queries import queries

WINDOW: Final = timedelta(hours=24)
EXAMPLE: Final = {
    "vehicleId": "VEH-001",
    "totalEnergyConsumedAc": 45.23,
    "totalEnergyDeliveredDc": 42.07,
    "efficiencyRatio": 93.01,
    "averageBatteryTemp": 28.3,
    "timeWindowStart": "2026-02-08T15:30:00Z",
    "timeWindowEnd": "2026-02-09T15:30:00Z",
    "dataPoints": 1440,
    "coverage": {"ac": 1.0, "dc": 1.0},
    "status": "healthy",
    "reason": "93.01 % is at or above 90 %",
}
router = APIRouter(prefix="/v1/analytics", tags=["analytics"])


@router.get(
    "/performance/{vehicleId}",
    operation_id="vehiclePerformance",
    summary="Energy in, energy out, efficiency and temperature of a vehicle over 24 hours",
    responses={200: {"content": {"application/json": {"example": EXAMPLE}}}, **documented(404, 422, 503)},
)
async def vehicle_performance(
    request: Request, database: Database, vehicle_id: VehicleId, end: End | None = None
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
    return performance(found, Thresholds.of(request.app.state.settings))


def performance(found: Any, limits: Thresholds) -> Performance:
    """The answer for a row of the query `energy_of`."""
    efficiency = judge(Sums.of(found), limits)
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
