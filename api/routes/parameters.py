"""What routes take from a request."""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends, Path, Query, Request
from pydantic import AfterValidator, AwareDatetime

from schemas.readings import ID_RULE, valid_id


def _device_id(value: str) -> str:
    if not valid_id(value):
        raise ValueError(f"a device id is {ID_RULE}")
    return value


def _in_range(instant: datetime) -> datetime:
    instant = instant.astimezone(UTC)
    if not datetime(1970, 1, 2, tzinfo=UTC) <= instant <= datetime(9000, 1, 1, tzinfo=UTC):
        raise ValueError("the instant must lie between 1970-01-02 and 9000-01-01")
    return instant


def _database(request: Request) -> Any:
    return request.app.state.database


Database = Annotated[Any, Depends(_database)]
VehicleId = Annotated[str, Path(alias="vehicleId", examples=["VEH-001"]), AfterValidator(_device_id)]
MeterId = Annotated[str, Path(alias="meterId", examples=["METER-001"]), AfterValidator(_device_id)]
End = Annotated[
    AwareDatetime,
    Query(description="end of the window (not included), RFC 3339 with an offset; now by default"),
    AfterValidator(_in_range),
]
After = Annotated[str, Query(max_length=64, description="the last id of the page before"), AfterValidator(str)]
Limit = Annotated[int, Query(ge=1, le=1000, description="items on a page")]
