"""History of one device: its readings, or its energy by the hour or day."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo

import msgspec
from fastapi import APIRouter, Depends, HTTPException, Request, Response

from api.archive.energy import meter_energy_with_archive, vehicle_energy_with_archive
from api.archive.exports import CONTENT, PARQUET, READINGS_PER_PAGE, export_readings, export_type
from api.archive.months import METERS, VEHICLES, Archive
from api.archive.readings import readings_with_archive
from api.cells.cells import Cell
from api.problems import invalid_parameter, problem_responses
from api.routes.pagination import decode_cursor, encode_cursor
from api.routes.parameters import (
    AfterCursor,
    From,
    HistoryLimit,
    MeterCell,
    MeterId,
    TimeZone,
    To,
    VehicleCell,
    VehicleId,
)
from api.routes.time_buckets import Period, time_buckets
from schemas.config.extras import missing_archive
from schemas.responses.base import Coverage, ResponseBody
from schemas.responses.history import (
    MeterBucket,
    MeterBuckets,
    MeterReadings,
    VehicleBucket,
    VehicleBuckets,
    VehicleReadings,
)
from sql.analytics.efficiency import EnergySums, Thresholds, assess_efficiency
from sql.queries import queries

DEFAULT_RANGE: Final = timedelta(hours=24)
MICROSECOND: Final = timedelta(microseconds=1)
# Of the readings of each history, with the names they have in an export.
EXPORTED: Final = {
    VEHICLES: {
        "recorded_at": "recordedAt",
        "kwh_delivered_dc": "kwhDeliveredDc",
        "soc": "soc",
        "battery_temp": "batteryTemp",
    },
    METERS: {"recorded_at": "recordedAt", "kwh_consumed_ac": "kwhConsumedAc", "voltage": "voltage"},
}
RESPONSES: Final = problem_responses(404, 410, 422, 429, 503) | {
    200: {"description": "A page in JSON; as CSV or Parquet all readings of the period", "content": CONTENT}
}
router = APIRouter(prefix="/v1", tags=["history"])


class HistoryCursor(msgspec.Struct, frozen=True, array_like=True):
    """The beginning of the next page."""

    opens: Annotated[datetime, msgspec.Meta(tz=True)]


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """The rest of the time range `[opens, closes)` that previous pages have left, and its resolution."""

    opens: datetime
    closes: datetime
    resolution: Literal["raw", "hour", "day"]
    zone: ZoneInfo
    limit: int

    def periods(self) -> list[Period]:
        """The hours or days that have begun, up to one more than a page holds."""
        begun_before = min(self.closes, datetime.now(UTC))
        size: Literal["hour", "day"] = "day" if self.resolution == "day" else "hour"
        buckets = islice(time_buckets(self.opens, self.closes, size, self.zone), self.limit + 1)
        return [period for period in buckets if period[0] < begun_before]


async def _history_query(
    opens: From = None,
    closes: To = None,
    resolution: Literal["raw", "hour", "day"] = "raw",
    timezone: TimeZone = "UTC",
    after: AfterCursor = None,
    limit: HistoryLimit = 100,
) -> HistoryQuery:
    closes = closes or datetime.now(UTC)
    opens = opens or closes - DEFAULT_RANGE
    if opens >= closes:
        raise invalid_parameter("from", "`from` must be before `to`")
    cursor = decode_cursor(after, HistoryCursor)
    if cursor and not cursor.opens <= closes:
        raise invalid_parameter("after", "this is not the `next` of a previous page of the same query")
    if cursor:
        opens = max(opens, cursor.opens)
    return HistoryQuery(opens, closes, resolution, ZoneInfo(timezone), limit)


HistoryParameters = Annotated[HistoryQuery, Depends(_history_query)]


@router.get(
    "/vehicles/{vehicleId}/history",
    operation_id="vehicleHistory",
    summary="Readings of a vehicle, or its energy and efficiency by the hour or day",
    responses=RESPONSES,
    response_model=VehicleReadings | VehicleBuckets,
)
async def vehicle_history(
    request: Request, cell: VehicleCell, vehicle_id: VehicleId, query: HistoryParameters
) -> Response:
    """Hours are UTC hours. Days last from midnight to midnight in `timezone`, so 23 or 25 hours when clocks change. Hours and
    days that have not begun yet are left out. With `Accept: text/csv` or `application/vnd.apache.parquet`, all readings of the
    period are sent as one file."""
    if media_type := _export_type(request, query):
        known = partial(queries.known_vehicles, vehicle_ids=[vehicle_id])
        select = partial(queries.vehicle_readings, vehicle_id=vehicle_id)
        device = "vehicleId", vehicle_id
        return await _export(cell, VEHICLES, device, query, media_type, known, select)
    async with cell.database.acquire() as connection:
        await _require(queries.known_vehicles(connection, vehicle_ids=[vehicle_id]), f"vehicle {vehicle_id}")
        if query.resolution == "raw":
            select = partial(queries.vehicle_readings, vehicle_id=vehicle_id)
            rows = await _readings(cell.archive, connection, VEHICLES, vehicle_id, query, select)
            return _json(VehicleReadings.model_validate(_page_of_readings(rows, query.limit)))
        periods = query.periods()
        page = periods[: query.limit]
        rows = await vehicle_energy_with_archive(cell.archive, connection, [vehicle_id] * len(page), page)
    thresholds = Thresholds.from_settings(request.app.state.settings)
    items = [_vehicle_bucket(row, thresholds) for row in rows]
    return _json(VehicleBuckets(items=items, next=_after_bucket(periods, query.limit)))


@router.get(
    "/meters/{meterId}/history",
    operation_id="meterHistory",
    summary="Readings of a meter, or its energy by the hour or day",
    responses=RESPONSES,
    response_model=MeterReadings | MeterBuckets,
)
async def meter_history(request: Request, cell: MeterCell, meter_id: MeterId, query: HistoryParameters) -> Response:
    """Hours are UTC hours. Days last from midnight to midnight in `timezone`, so 23 or 25 hours when clocks change. Hours and
    days that have not begun yet are left out. With `Accept: text/csv` or `application/vnd.apache.parquet`, all readings of the
    period are sent as one file."""
    if media_type := _export_type(request, query):
        known = partial(queries.known_meters, meter_ids=[meter_id])
        select = partial(queries.meter_readings, meter_id=meter_id)
        device = "meterId", meter_id
        return await _export(cell, METERS, device, query, media_type, known, select)
    async with cell.database.acquire() as connection:
        await _require(queries.known_meters(connection, meter_ids=[meter_id]), f"meter {meter_id}")
        if query.resolution == "raw":
            select = partial(queries.meter_readings, meter_id=meter_id)
            rows = await _readings(cell.archive, connection, METERS, meter_id, query, select)
            return _json(MeterReadings.model_validate(_page_of_readings(rows, query.limit)))
        periods = query.periods()
        page = periods[: query.limit]
        read = partial(_meter_energies, connection, meter_id, page)
        rows = await meter_energy_with_archive(cell.archive, connection, meter_id, page, read)
    items = [_meter_bucket(row) for row in rows]
    return _json(MeterBuckets(items=items, next=_after_bucket(periods, query.limit)))


def _json(page: ResponseBody) -> Response:
    """A page as its own type writes it. FastAPI would try each of a route's types on every item first."""
    return Response(page.model_dump_json(by_alias=True), media_type="application/json")


def _export_type(request: Request, query: HistoryQuery) -> str | None:
    media_type = export_type(request.headers.get("accept"))
    if media_type and query.resolution != "raw":
        raise invalid_parameter("resolution", "CSV and Parquet hold readings: hours and days are JSON")
    if media_type == PARQUET and missing_archive("Parquet"):
        raise HTTPException(
            406, "this service was installed without Parquet (the extra `archive`): ask for CSV or JSON"
        )
    return media_type


async def _export(
    cell: Cell,
    history: str,
    device: tuple[str, str],
    query: HistoryQuery,
    media_type: str,
    known: Any,
    select: Any,
) -> Response:
    """All readings of the period. Each page is read with a connection of its own, so that a slow client holds none."""

    async def read(opens: datetime) -> Sequence[Any]:
        page = replace(query, opens=opens, limit=READINGS_PER_PAGE - 1)
        async with cell.database.acquire() as connection:
            return await _readings(cell.archive, connection, history, device[1], page, select)

    async with cell.database.acquire() as connection:
        await _require(known(connection), f"{device[0].removesuffix('Id')} {device[1]}")
    return await export_readings(media_type, device, EXPORTED[history], query.opens, read)


async def _require(rows: Any, device: str) -> None:
    if not [row async for row in rows]:
        raise HTTPException(404, f"{device} is not known")


async def _readings(
    archive: Archive, connection: Any, history: str, device: str, query: HistoryQuery, select: Any
) -> Sequence[Any]:
    """The readings of a page, and one more."""

    async def read() -> list[Any]:
        rows = select(connection, opens=query.opens, closes=query.closes, row_limit=query.limit + 1)
        return [row async for row in rows]

    period = query.opens, query.closes
    return await readings_with_archive(archive, connection, history, device, period, query.limit + 1, read)


async def _meter_energies(connection: Any, meter_id: str, periods: Sequence[Period]) -> list[Any]:
    opens, closes = [each[0] for each in periods], [each[1] for each in periods]
    rows = queries.meter_energy_of(connection, meter_ids=[meter_id] * len(periods), opens=opens, closes=closes)
    return [row async for row in rows]


def _page_of_readings(rows: Sequence[Any], limit: int) -> dict[str, Any]:
    """The fields of a page, to be validated together: an object for each reading would take most of the time."""
    after = encode_cursor(HistoryCursor(rows[limit - 1]["recorded_at"] + MICROSECOND)) if len(rows) > limit else None
    return {"items": [dict(row) for row in rows[:limit]], "next": after}


def _after_bucket(periods: Sequence[Period], limit: int) -> str | None:
    return encode_cursor(HistoryCursor(periods[limit][0])) if len(periods) > limit else None


def _vehicle_bucket(row: Any, thresholds: Thresholds) -> VehicleBucket:
    efficiency = assess_efficiency(EnergySums.from_row(row), thresholds)
    return VehicleBucket(
        start=row["opens"],
        end=row["closes"],
        kwh_consumed_ac=row["ac_kwh"] if row["assigned_seconds"] else None,
        kwh_delivered_dc=row["dc_kwh"],
        efficiency_ratio=efficiency.ratio,
        readings=row["dc_points"],
        average_battery_temp=row["average_battery_temp"],
        battery_temp_max=row["battery_temp_max"],
        soc_min=row["soc_min"],
        soc_max=row["soc_max"],
        coverage=Coverage(ac=efficiency.ac_coverage, dc=efficiency.dc_coverage),
    )


def _meter_bucket(row: Any) -> MeterBucket:
    return MeterBucket(start=row["opens"], end=row["closes"], kwh_consumed_ac=row["kwh"], readings=row["readings"])
