"""Path and query parameters shared by the routes, and their validation."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fastapi import Depends, Path, Query, Request
from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field

from api.cells.cells import Cell, Cells
from schemas.records.instants import QUERY_PATTERN
from schemas.records.readings import ID_PATTERN, ID_RULE, valid_id

MAX_VEHICLES: Final = 500
ID_SCHEMA: Final[dict[str, Any]] = {"pattern": ID_PATTERN, "minLength": 1, "maxLength": 64}
_is_instant: Final = re.compile(QUERY_PATTERN[:-1] + r"\Z").match


def _device_id(value: str) -> str:
    if not valid_id(value):
        raise ValueError(f"a device id is {ID_RULE}")
    return value


def _device_ids(values: list[str]) -> list[str]:
    distinct = list(dict.fromkeys(values))
    if not 1 <= len(distinct) <= MAX_VEHICLES:
        raise ValueError(f"1 to {MAX_VEHICLES} vehicles can be requested at once, not {len(distinct)}")
    return distinct


def _time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: the name is a directory of the time zone database
        raise ValueError(f"unknown time zone {name!r}; use an IANA name such as Europe/Berlin") from None
    return name


def _device_id_or_empty(value: str) -> str:
    return _device_id(value) if value else value


def _rfc3339(value: Any) -> Any:
    """Rejects Unix timestamps and instants without seconds, which pydantic accepts but the OpenAPI document does not list."""
    if not _is_instant(value):
        raise ValueError(
            "an instant is RFC 3339 with an offset, such as 2026-02-09T15:30:00Z (in a URL + is %2B), "
            "and lies between 1971 and 8999"
        )
    return value


def _in_utc(instant: datetime) -> datetime:
    return instant.astimezone(UTC)


async def _cells(request: Request) -> Any:  # async, because FastAPI calls every other dependency in a thread
    return request.app.state.cells


FleetCells = Annotated[Cells, Depends(_cells)]
_Id = Annotated[str, AfterValidator(_device_id), Field(json_schema_extra=ID_SCHEMA)]
VehicleId = Annotated[_Id, Path(alias="vehicleId", examples=["VEH-001"])]
VehicleIds = Annotated[
    list[_Id],
    Query(
        alias="vehicleId",
        description=f"repeat for each vehicle, up to {MAX_VEHICLES}; duplicates are ignored",
        examples=[["VEH-001"]],
        json_schema_extra={"minItems": 1},
    ),
    AfterValidator(_device_ids),
]
OneVehicle = Annotated[_Id | None, Query(alias="vehicleId", description="only this vehicle")]
MeterId = Annotated[_Id, Path(alias="meterId", examples=["METER-001"])]
_Instant = Annotated[
    AwareDatetime,
    BeforeValidator(_rfc3339),
    AfterValidator(_in_utc),
    Field(json_schema_extra={"pattern": QUERY_PATTERN}),
]
End = Annotated[
    _Instant | None, Query(description="end of the window (exclusive), RFC 3339 with an offset; now by default")
]
From = Annotated[
    _Instant | None,
    Query(alias="from", description="beginning (inclusive), RFC 3339 with an offset; 24 hours before `to` by default"),
]
To = Annotated[
    _Instant | None, Query(alias="to", description="end (exclusive), RFC 3339 with an offset; now by default")
]
TimeZone = Annotated[
    str,
    Query(
        max_length=64,
        description="the time zone of days: an IANA name",
        examples=["Europe/Berlin"],
        json_schema_extra={"format": "iana-time-zone"},
    ),
    AfterValidator(_time_zone),
]
AfterCursor = Annotated[
    str | None,
    Query(max_length=512, description="`next` of the previous page", json_schema_extra={"format": "cursor"}),
]
After = Annotated[
    str,
    Query(
        max_length=64,
        description="the last id of the previous page",
        json_schema_extra={"pattern": f"^$|{ID_PATTERN}"},
    ),
    AfterValidator(_device_id_or_empty),
]
Limit = Annotated[int, Query(ge=1, le=1000, description="items per page")]
HistoryLimit = Annotated[
    int,
    Query(ge=1, le=2000, description="items per page; a day of a device has 1,440 readings when it sends every minute"),
]


async def _vehicle_cell(cells: FleetCells, vehicle_id: VehicleId) -> Cell:
    return await cells.of_vehicle(vehicle_id)


async def _meter_cell(cells: FleetCells, meter_id: MeterId) -> Cell:
    return await cells.of_meter(meter_id)


VehicleCell = Annotated[Cell, Depends(_vehicle_cell)]
MeterCell = Annotated[Cell, Depends(_meter_cell)]
