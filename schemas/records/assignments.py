"""Records of the assignment topic: bytes -> Assignment (which meter measures which vehicle, and when), or InvalidReading."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from schemas.records.instants import INSTANT_PATTERN
from schemas.records.readings import DeviceId, FieldError, InvalidReading, Limits, Reason, explain, valid_id

Instant = Annotated[
    datetime,
    Meta(tz=True, description="RFC 3339 with an offset", extra_json_schema={"pattern": INSTANT_PATTERN}),
]


class Assignment(msgspec.Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    """The vehicle draws from the meter during [valid_from, valid_to). Without an end: until a newer one of either begins."""

    vehicle_id: DeviceId
    valid_from: Instant
    meter_id: DeviceId
    valid_to: Instant | None = None


@dataclass(frozen=True, slots=True)
class _Calendar:
    """Limits of plausible dates only: assignments may begin long ago or in the future.

    A date beyond them is no open end, although other systems write 9999-12-31 for one: an assignment with an end, however late,
    does not give way to the next one.
    """

    oldest: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    newest: datetime = datetime(9000, 1, 1, tzinfo=UTC)

    def check(self, instant: datetime, field: str) -> FieldError | None:
        if self.oldest <= instant <= self.newest:
            return None
        years = f"{self.oldest.year} and the year {self.newest.year}"
        hint = "; an open end is left out" if instant > self.newest else ""
        return FieldError(field, Reason.OUT_OF_RANGE, f"{field} {instant.isoformat()} must lie between {years}{hint}")


CALENDAR: Final[Limits] = _Calendar()
_decode: Final = msgspec.json.Decoder(Assignment).decode


def decode_assignment(value: bytes) -> Assignment:
    """An assignment from the value of a record. The caller validates vehicle_id and the limits of valid_from.

    Raises:
        ValueError: the value is not a valid assignment.
        TypeError: the record has no value.
    """
    assignment = _decode(value)
    end = assignment.valid_to
    if not valid_id(assignment.meter_id) or (end is not None and not assignment.valid_from < end <= CALENDAR.newest):
        raise ValueError("not an assignment")
    return assignment


def invalid_assignment(value: bytes | None, limits: Limits = CALENDAR) -> InvalidReading:
    """The exception that explains why a value is not a valid assignment."""
    return InvalidReading(explain(Assignment, value, limits) or (_interval_error(value or b""),))


def _interval_error(value: bytes) -> FieldError:
    """The error of a value whose fields are valid one by one."""
    try:
        assignment = _decode(value)
    except (ValueError, RecursionError):
        return FieldError("", Reason.INVALID_JSON, "the value is not a valid assignment")
    begin, end = assignment.valid_from, assignment.valid_to
    detail = f"validTo {end and end.isoformat()} must be later than validFrom {begin.isoformat()}"
    return FieldError("validTo", Reason.INVALID_INTERVAL, detail)
