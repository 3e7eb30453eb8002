"""The past of one device: its readings, or its hours and days."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo

import msgspec
from fastapi import APIRouter, Depends, HTTPException, Request

from api.problems import documented
from api.routes.pagination import cursor, place
from api.routes.parameters import AfterCursor, Database, From, Limit, MeterId, TimeZone, To, VehicleId, refused
from api.routes.time_buckets import Period, buckets
from schemas.responses.base import Coverage
from schemas.responses.history import (
    MeterBucket,
    MeterBuckets,
    MeterReadingItem,
    MeterReadings,
    VehicleBucket,
    VehicleBuckets,
    VehicleReadingItem,
    VehicleReadings,
)
from sql.analytics.efficiency import EnergySums, Thresholds, assess_efficiency
from sql.queries import queries

DAY: Final = timedelta(hours=24)
MICROSECOND: Final = timedelta(microseconds=1)
router = APIRouter(prefix="/v1", tags=["history"])


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where the next page begins."""

    opens: Annotated[datetime, msgspec.Meta(tz=True)]


@dataclass(frozen=True, slots=True)
class Asked:
    """`[opens, closes)` in pieces of `resolution`, from where the page before has ended."""

    opens: datetime
    closes: datetime
    resolution: Literal["raw", "hour", "day"]
    zone: ZoneInfo
    limit: int

    def pieces(self) -> list[Period]:
        """Hours or days that have begun, one more than a page holds."""
        begun = min(self.closes, datetime.now(UTC))
        size: Literal["hour", "day"] = "day" if self.resolution == "day" else "hour"
        found = islice(buckets(self.opens, self.closes, size, self.zone), self.limit + 1)
        return [period for period in found if period[0] < begun]


def _asked(
    opens: From = None,
    closes: To = None,
    resolution: Literal["raw", "hour", "day"] = "raw",
    timezone: TimeZone = "UTC",
    after: AfterCursor = None,
    limit: Limit = 100,
) -> Asked:
    closes = closes or datetime.now(UTC)
    opens = opens or closes - DAY
    if opens >= closes:
        raise refused("from", "`from` must lie before `to`")
    begins = place(after, Place)
    if begins and not begins.opens <= closes:
        raise refused("after", "this is not what `next` of the page before has said for the same question")
    if begins:
        opens = max(opens, begins.opens)
    return Asked(opens, closes, resolution, ZoneInfo(timezone), limit)


Stretch = Annotated[Asked, Depends(_asked)]


@router.get(
    "/vehicles/{vehicleId}/history",
    operation_id="vehicleHistory",
    summary="Readings of a vehicle, or its hours or days with the energy of its meters",
    responses=documented(404, 422, 503),
)
async def vehicle_history(
    request: Request, database: Database, vehicle_id: VehicleId, asked: Stretch
) -> VehicleReadings | VehicleBuckets:
    """Hours are those of UTC, days those of `timezone`: from midnight to midnight, 23 or 25 hours when clocks change. What has
    not begun yet is left out."""
    async with database.acquire() as connection:
        await _known(queries.known_vehicles(connection, vehicle_ids=[vehicle_id]), f"vehicle {vehicle_id}")
        if asked.resolution == "raw":
            rows = await _readings(asked, queries.vehicle_readings, connection, vehicle_id=vehicle_id)
            items = [VehicleReadingItem(**row) for row in rows[: asked.limit]]
            return VehicleReadings(items=items, next=_after_reading(rows, asked.limit))
        periods = asked.pieces()
        rows = await _energies(queries.energy_of, connection, "vehicle_ids", vehicle_id, periods[: asked.limit])
    limits = Thresholds.from_settings(request.app.state.settings)
    return VehicleBuckets(
        items=[_vehicle_bucket(row, limits) for row in rows], next=_after_bucket(periods, asked.limit)
    )


@router.get(
    "/meters/{meterId}/history",
    operation_id="meterHistory",
    summary="Readings of a meter, or the energy of its hours or days",
    responses=documented(404, 422, 503),
)
async def meter_history(database: Database, meter_id: MeterId, asked: Stretch) -> MeterReadings | MeterBuckets:
    """Hours are those of UTC, days those of `timezone`: from midnight to midnight, 23 or 25 hours when clocks change. What has
    not begun yet is left out."""
    async with database.acquire() as connection:
        await _known(queries.known_meters(connection, meter_ids=[meter_id]), f"meter {meter_id}")
        if asked.resolution == "raw":
            rows = await _readings(asked, queries.meter_readings, connection, meter_id=meter_id)
            items = [MeterReadingItem(**row) for row in rows[: asked.limit]]
            return MeterReadings(items=items, next=_after_reading(rows, asked.limit))
        periods = asked.pieces()
        rows = await _energies(queries.meter_energy_of, connection, "meter_ids", meter_id, periods[: asked.limit])
    return MeterBuckets(items=[_meter_bucket(row) for row in rows], next=_after_bucket(periods, asked.limit))


async def _known(found: Any, who: str) -> None:
    if not [row async for row in found]:
        raise HTTPException(404, f"nothing was ever heard of {who}")


async def _readings(asked: Asked, query: Any, connection: Any, **device: str) -> list[Any]:
    """Readings of a page and one more."""
    rows = query(connection, opens=asked.opens, closes=asked.closes, row_limit=asked.limit + 1, **device)
    return [row async for row in rows]


async def _energies(query: Any, connection: Any, parameter: str, device: str, periods: Sequence[Period]) -> list[Any]:
    opens, closes = [each[0] for each in periods], [each[1] for each in periods]
    rows = query(connection, **{parameter: [device] * len(periods)}, opens=opens, closes=closes)
    return [row async for row in rows]


def _after_reading(rows: Sequence[Any], limit: int) -> str | None:
    return cursor(Place(rows[limit - 1]["recorded_at"] + MICROSECOND)) if len(rows) > limit else None


def _after_bucket(periods: Sequence[Period], limit: int) -> str | None:
    return cursor(Place(periods[limit][0])) if len(periods) > limit else None


def _vehicle_bucket(row: Any, limits: Thresholds) -> VehicleBucket:
    found = assess_efficiency(EnergySums.from_row(row), limits)
    return VehicleBucket(
        start=row["opens"],
        end=row["closes"],
        kwh_consumed_ac=row["ac_kwh"] if row["assigned_seconds"] else None,
        kwh_delivered_dc=row["dc_kwh"],
        efficiency_ratio=found.ratio,
        readings=row["dc_points"],
        average_battery_temp=row["average_battery_temp"],
        battery_temp_max=row["battery_temp_max"],
        soc_min=row["soc_min"],
        soc_max=row["soc_max"],
        coverage=Coverage(ac=found.ac_coverage, dc=found.dc_coverage),
    )


def _meter_bucket(row: Any) -> MeterBucket:
    return MeterBucket(start=row["opens"], end=row["closes"], kwh_consumed_ac=row["kwh"], readings=row["readings"])
