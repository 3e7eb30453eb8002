"""Readings: bytes -> MeterReading, RegisterReading or VehicleReading, or InvalidReading with the reasons.

The consumer and the HTTP ingestion validate with the same structs and limits, which are defined here.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from string import ascii_letters, digits
from typing import Annotated, Any, Final, Protocol

import msgspec
from msgspec import Meta

from schemas.records.instants import INSTANT_PATTERN

# The first two fields of each reading are its identity. All fields are in the order of `TelemetryType.columns`
# (consumer/topic_registry.py), because the consumer writes the struct as a tuple.
ID_PATTERN: Final = r"^[A-Za-z0-9._:-]{1,64}$"
ID_RULE: Final = "1 to 64 characters of A-Z a-z 0-9 . _ : -"
CLOCK_AHEAD: Final = timedelta(minutes=5)
INSTANTS: Final = frozenset({"timestamp", "validFrom", "validTo"})

# The schema documents the pattern, and `valid_id` checks it: inside msgspec the check costs as much as half the decoding.
DeviceId = Annotated[str, Meta(min_length=1, max_length=64, extra_json_schema={"pattern": ID_PATTERN})]
Kwh = Annotated[float, Meta(ge=0, le=1000, description="kWh over the interval since the previous reading")]
Register = Annotated[float, Meta(ge=0, le=1e9, description="kWh since the meter was new or its register was reset")]
Volts = Annotated[float, Meta(ge=0, le=1000, description="V")]
Percent = Annotated[float, Meta(ge=0, le=100, description="battery state of charge in %")]
Celsius = Annotated[float, Meta(ge=-60, le=150, description="battery temperature in degrees Celsius")]
Timestamp = Annotated[
    datetime,
    Meta(
        tz=True,
        description="the device's clock, RFC 3339 with an offset",
        extra_json_schema={"pattern": INSTANT_PATTERN},
    ),
]


class MeterReading(msgspec.Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    """Reading that a smart meter (grid side, AC) publishes once a minute."""

    meter_id: DeviceId
    timestamp: Timestamp
    kwh_consumed_ac: Kwh
    voltage: Volts


class RegisterReading(msgspec.Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    """Reading of a meter that sends its cumulative register instead of interval energy."""

    meter_id: DeviceId
    timestamp: Timestamp
    kwh_consumed_ac: Register
    voltage: Volts


class VehicleReading(msgspec.Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    """Reading that a vehicle (battery side, DC) publishes once a minute."""

    vehicle_id: DeviceId
    timestamp: Timestamp
    kwh_delivered_dc: Kwh
    soc: Percent
    battery_temp: Celsius


Reading = MeterReading | VehicleReading


class Reason(StrEnum):
    """Why a record became a dead letter. The codes are values of a metric label and never change."""

    EMPTY_VALUE = "empty_value"
    INVALID_JSON = "invalid_json"
    NOT_AN_OBJECT = "not_an_object"
    MISSING_FIELD = "missing_field"
    INVALID_TYPE = "invalid_type"
    INVALID_ID = "invalid_id"
    OUT_OF_RANGE = "out_of_range"
    INVALID_TIMESTAMP = "invalid_timestamp"
    TIMESTAMP_TOO_OLD = "timestamp_too_old"
    TIMESTAMP_IN_FUTURE = "timestamp_in_future"
    INVALID_INTERVAL = "invalid_interval"
    CONFLICTING_READING = "conflicting_reading"
    OVERLAPPING_ASSIGNMENT = "overlapping_assignment"
    REFUSED_BY_DATABASE = "refused_by_database"
    TOO_LARGE = "too_large"
    INTERNAL_ERROR = "internal_error"
    INVALID_FRAME = "invalid_frame"
    INVALID_ENCODING = "invalid_encoding"
    UNKNOWN_SCHEMA = "unknown_schema"
    INCOMPATIBLE_SCHEMA = "incompatible_schema"


@dataclass(frozen=True, slots=True)
class FieldError:
    """One error of one field; `field` is empty when the value as a whole is wrong."""

    field: str
    reason: Reason
    detail: str


class InvalidReading(Exception):  # noqa: N818 - describes the input, not a failure of the program
    """The bytes are not a valid record; `errors` has one entry per wrong field and is never empty."""

    def __init__(self, errors: tuple[FieldError, ...]) -> None:
        super().__init__("; ".join(error.detail for error in errors))
        self.errors = errors

    @property
    def reason(self) -> Reason:
        """The reason code of the first error."""
        return self.errors[0].reason


class Limits(Protocol):
    """Range of the accepted instants of a record, both ends included."""

    @property
    def oldest(self) -> datetime:
        """The earliest accepted instant."""

    @property
    def newest(self) -> datetime:
        """The latest accepted instant."""

    def check(self, instant: datetime, field: str) -> FieldError | None:
        """The error of the field, None when its instant lies within the limits."""


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Accepted range of a reading's timestamp, relative to the server's clock."""

    oldest: datetime
    newest: datetime
    retention_days: int

    @classmethod
    def at(cls, now: datetime, retention_days: int) -> "TimeLimits":
        """Limits for readings that arrive at `now` and are kept for `retention_days` (RETENTION_DAYS)."""
        return cls(now - timedelta(days=retention_days), now + CLOCK_AHEAD, retention_days)

    def check(self, instant: datetime, field: str = "timestamp") -> FieldError | None:
        """The error of the field, None when its instant lies within the limits."""
        if instant < self.oldest:
            return FieldError(
                field,
                Reason.TIMESTAMP_TOO_OLD,
                f"{field} {instant.isoformat()} is older than the retention of {self.retention_days} days "
                f"(RETENTION_DAYS); the oldest accepted is {self.oldest.isoformat(timespec='seconds')}",
            )
        if instant > self.newest:
            return FieldError(
                field,
                Reason.TIMESTAMP_IN_FUTURE,
                f"{field} {instant.isoformat()} is more than {CLOCK_AHEAD.seconds // 60} minutes ahead of the "
                f"server's clock; the newest accepted is {self.newest.isoformat(timespec='seconds')}",
            )
        return None


_ID_CHARACTERS: Final = (ascii_letters + digits + "._:-").encode()
_matches_id: Final = re.compile(ID_PATTERN[:-1] + r"\Z").match
_meters: Final = msgspec.json.Decoder(MeterReading)
_registers: Final = msgspec.json.Decoder(RegisterReading)
_vehicles: Final = msgspec.json.Decoder(VehicleReading)
decode_meter: Final[Callable[[bytes], MeterReading]] = _meters.decode
decode_meters: Final[Callable[[bytes], list[MeterReading]]] = _meters.decode_lines
decode_register: Final[Callable[[bytes], RegisterReading]] = _registers.decode
decode_registers: Final[Callable[[bytes], list[RegisterReading]]] = _registers.decode_lines
decode_vehicle: Final[Callable[[bytes], VehicleReading]] = _vehicles.decode
decode_vehicles: Final[Callable[[bytes], list[VehicleReading]]] = _vehicles.decode_lines


def valid_id(device_id: str) -> bool:
    """Whether `device_id` matches ID_RULE."""
    return _matches_id(device_id) is not None


def valid_characters(device_ids: Iterable[str]) -> bool:
    """Whether ids of a valid length, which decoding has checked, match ID_RULE, all of them; faster than one by one."""
    return not "".join(device_ids).encode().translate(None, _ID_CHARACTERS)


def parse_meter(value: bytes, limits: TimeLimits) -> MeterReading:
    """A meter reading from the bytes of a request.

    Raises:
        InvalidReading: names every wrong field.
    """
    try:
        reading = decode_meter(value)
    except (ValueError, RecursionError):
        raise invalid_reading(MeterReading, value, limits) from None
    if valid_id(reading.meter_id) and limits.check(reading.timestamp) is None:
        return reading
    raise invalid_reading(MeterReading, value, limits)


def parse_vehicle(value: bytes, limits: TimeLimits) -> VehicleReading:
    """A vehicle reading from the bytes of a request.

    Raises:
        InvalidReading: names every wrong field.
    """
    try:
        reading = decode_vehicle(value)
    except (ValueError, RecursionError):
        raise invalid_reading(VehicleReading, value, limits) from None
    if valid_id(reading.vehicle_id) and limits.check(reading.timestamp) is None:
        return reading
    raise invalid_reading(VehicleReading, value, limits)


def invalid_reading(kind: type[msgspec.Struct], value: bytes | None, limits: Limits) -> InvalidReading:
    """The exception that explains why the decoder or the limits rejected a value."""
    unexplained = FieldError("", Reason.INVALID_JSON, "the value is not a valid reading")
    return InvalidReading(explain(kind, value, limits) or (unexplained,))


def explain(kind: type[msgspec.Struct], value: bytes | None, limits: Limits) -> tuple[FieldError, ...]:
    """All errors of a value, in the order of the fields; empty when none is found.

    Slow: called only for values that the decoder has rejected.
    """
    if not value:
        return (FieldError("", Reason.EMPTY_VALUE, "the record has no value"),)
    try:
        members = msgspec.json.decode(value, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return (_not_an_object(value, error),)
    errors = [_explain_field(field, members, limits) for field in msgspec.structs.fields(kind)]
    return tuple(error for error in errors if error is not None)


def _not_an_object(value: bytes, error: Exception) -> FieldError:
    if isinstance(error, RecursionError):
        return FieldError("", Reason.INVALID_JSON, "JSON is nested too deeply")
    if isinstance(error, msgspec.ValidationError) and not value.lstrip().startswith(b"{"):
        return FieldError("", Reason.NOT_AN_OBJECT, f"a record must be one JSON object: {error}")
    return FieldError("", Reason.INVALID_JSON, str(error))


def _explain_field(
    field: msgspec.structs.FieldInfo, members: dict[str, msgspec.Raw], limits: Limits
) -> FieldError | None:
    name = field.encode_name
    if name not in members:
        return FieldError(name, Reason.MISSING_FIELD, f"{name} is missing") if field.required else None
    try:
        content = msgspec.json.decode(members[name], type=field.type)
    except RecursionError:
        return FieldError(name, Reason.INVALID_JSON, f"{name}: JSON is nested too deeply")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return FieldError(name, _reason(name, error), f"{name}: {error}")
    if name.endswith("Id") and not valid_id(content):
        return FieldError(name, Reason.INVALID_ID, f"{name} must be {ID_RULE}")
    return limits.check(content, name) if isinstance(content, datetime) else None


def _reason(name: str, error: Exception) -> Reason:
    if not isinstance(error, msgspec.ValidationError):
        return Reason.INVALID_JSON
    message = str(error)
    if "got `" in message:
        return Reason.INVALID_TYPE
    if name in INSTANTS:
        return Reason.INVALID_TIMESTAMP
    return Reason.INVALID_ID if name.endswith("Id") else Reason.OUT_OF_RANGE


def example(kind: type[Reading], now: datetime | None = None) -> dict[str, Any]:
    """An example reading for documentation and commands, with the timestamp `now` (default: the current time)."""
    timestamp = (now or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")
    if kind is MeterReading:
        return {"meterId": "METER-001", "kwhConsumedAc": 45.23, "voltage": 240.5, "timestamp": timestamp}
    return {
        "vehicleId": "VEH-001",
        "soc": 85,
        "kwhDeliveredDc": 32.15,
        "batteryTemp": 28.3,
        "timestamp": timestamp,
    }
