"""What routes take from a request."""

from datetime import UTC, datetime
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fastapi import Depends, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, AwareDatetime

from schemas.readings import ID_RULE, valid_id

VEHICLES_AT_ONCE: Final = 500


def refused(parameter: str, detail: str) -> RequestValidationError:
    """What is wrong with a parameter, where only the route can tell."""
    return RequestValidationError([{"type": "value_error", "loc": ("query", parameter), "msg": detail}])


def _device_id(value: str) -> str:
    if not valid_id(value):
        raise ValueError(f"a device id is {ID_RULE}")
    return value


def _device_ids(values: list[str]) -> list[str]:
    distinct = list(dict.fromkeys(map(_device_id, values)))
    if not 1 <= len(distinct) <= VEHICLES_AT_ONCE:
        raise ValueError(f"1 to {VEHICLES_AT_ONCE} vehicles can be asked for at once, not {len(distinct)}")
    return distinct


def _time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: the name of a directory of the data
        raise ValueError(f"there is no time zone {name!r}; names are those of IANA, such as Europe/Berlin") from None
    return name


def _id_or_none(value: str) -> str:
    return _device_id(value) if value else value


def _in_range(instant: datetime) -> datetime:
    if not datetime(1970, 1, 2, tzinfo=UTC) <= instant <= datetime(9000, 1, 1, tzinfo=UTC):
        raise ValueError("the instant must lie between 1970-01-02 and 9000-01-01")
    return instant.astimezone(UTC)


def _database(request: Request) -> Any:
    return request.app.state.database


Database = Annotated[Any, Depends(_database)]
VehicleId = Annotated[str, Path(alias="vehicleId", examples=["VEH-001"]), AfterValidator(_device_id)]
VehicleIds = Annotated[
    list[str],
    Query(alias="vehicleId", description=f"repeated, up to {VEHICLES_AT_ONCE} different ones", examples=[["VEH-001"]]),
    AfterValidator(_device_ids),
]
OneVehicle = Annotated[
    Annotated[str, AfterValidator(_device_id)] | None, Query(alias="vehicleId", description="only of this vehicle")
]
MeterId = Annotated[str, Path(alias="meterId", examples=["METER-001"]), AfterValidator(_device_id)]
_Instant = Annotated[AwareDatetime, AfterValidator(_in_range)] | None
End = Annotated[
    _Instant, Query(description="end of the window (not included), RFC 3339 with an offset; now by default")
]
From = Annotated[
    _Instant,
    Query(alias="from", description="beginning (included), RFC 3339 with an offset; 24 hours before `to` by default"),
]
To = Annotated[_Instant, Query(alias="to", description="end (not included), RFC 3339 with an offset; now by default")]
TimeZone = Annotated[
    str,
    Query(max_length=64, description="whose midnights days begin at: an IANA name", examples=["Europe/Berlin"]),
    AfterValidator(_time_zone),
]
AfterCursor = Annotated[str | None, Query(max_length=512, description="`next` of the page before")]
After = Annotated[str, Query(max_length=64, description="the last id of the page before"), AfterValidator(_id_or_none)]
Limit = Annotated[int, Query(ge=1, le=1000, description="items on a page")]
