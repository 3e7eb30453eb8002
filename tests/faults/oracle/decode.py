"""Values of records -> what the contract says that they are: a reading, a declaration, or refused (docs/contracts.md)."""

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from typing import Any, Final

from tests.faults.oracle.framed import is_framed, meter_members

AHEAD: Final = timedelta(minutes=5)
OLDEST_ASSIGNMENT: Final = datetime(1970, 1, 1, tzinfo=UTC)
NEWEST_ASSIGNMENT: Final = datetime(9000, 1, 1, tzinfo=UTC)
_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_INSTANT: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ]([01]\d|2[0-3]):([0-5]\d):([0-5]\d)(?:\.(\d+))?(?:([Zz])|([+-])([01]\d|2[0-3]):?([0-5]\d))"
)


@dataclass(frozen=True, slots=True)
class Reading:
    """`values` are in the order of the history's columns; kWh come first."""

    device: str
    at: datetime
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Declaration:
    """The vehicle draws from the meter during [start, end); without an end, until a newer one of either begins."""

    vehicle: str
    meter: str
    start: datetime
    end: datetime | None


@dataclass(frozen=True, slots=True)
class Refused:
    """The value is not what its topic carries. One of `reasons` is the reason code of its dead letter."""

    reasons: frozenset[str]


class _FieldError(Exception):
    """A field is wrong; the argument is the reason code."""


@dataclass(frozen=True, slots=True)
class Window:
    """The readings' instants that are accepted, both ends included."""

    oldest: datetime
    newest: datetime

    @classmethod
    def at(cls, now: datetime, retention: timedelta) -> "Window":
        return cls(now - retention, now + AHEAD)


def decode_meter(value: bytes | None, window: Window) -> Reading | Refused:
    return _reading(value, "meterId", {"kwhConsumedAc": (0, 1000), "voltage": (0, 1000)}, window)


def decode_register(value: bytes | None, window: Window) -> Reading | Refused:
    return _reading(value, "meterId", {"kwhConsumedAc": (0, 1e9), "voltage": (0, 1000)}, window)


def decode_vehicle(value: bytes | None, window: Window) -> Reading | Refused:
    ranges = {"kwhDeliveredDc": (0.0, 1000.0), "soc": (0.0, 100.0), "batteryTemp": (-60.0, 150.0)}
    return _reading(value, "vehicleId", ranges, window)


def decode_declaration(value: bytes | None) -> Declaration | Refused:
    members = _object(value)
    if isinstance(members, Refused):
        return members
    fields = _Fields(members)
    vehicle, meter = fields.get("vehicleId", _id), fields.get("meterId", _id)
    start = fields.get("validFrom", _assignment_instant)
    end = fields.get("validTo", _assignment_instant) if members.get("validTo") is not None else None
    if not fields.reasons and end is not None and end <= start:
        fields.reasons.add("invalid_interval")
    return Refused(frozenset(fields.reasons)) if fields.reasons else Declaration(vehicle, meter, start, end)


def _reading(
    value: bytes | None, device: str, ranges: Mapping[str, tuple[float, float]], window: Window
) -> Reading | Refused:
    members = _object(value)
    if isinstance(members, Refused):
        return members
    fields = _Fields(members)
    name = fields.get(device, _id)
    at = fields.get("timestamp", lambda found: _within(_instant(found), window))
    values = tuple(fields.get(each, partial(_number, *ends)) for each, ends in ranges.items())
    return Refused(frozenset(fields.reasons)) if fields.reasons else Reading(name, at, values)


class _Fields:
    """Reads members one by one and collects the reasons why some are wrong."""

    def __init__(self, members: dict[str, Any]) -> None:
        self._members = members
        self.reasons: set[str] = set()

    def get(self, name: str, parse: Callable[[Any], Any]) -> Any:
        """The parsed member, None when it is wrong or missing."""
        if name not in self._members:
            self.reasons.add("missing_field")
            return None
        try:
            return parse(self._members[name])
        except _FieldError as error:
            self.reasons.add(str(error))
            return None


def _object(value: bytes | None) -> dict[str, Any] | Refused:
    if not value:
        return Refused(frozenset({"empty_value"}))
    if is_framed(value):
        return meter_members(value)
    try:
        members = json.loads(value.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return Refused(frozenset({"invalid_json"}))
    return members if isinstance(members, dict) else Refused(frozenset({"not_an_object"}))


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _id(found: Any) -> str:
    if not isinstance(found, str):
        raise _FieldError("invalid_type")
    if not _ID.fullmatch(found):
        raise _FieldError("invalid_id")
    return found


def _number(lowest: float, highest: float, found: Any) -> float:
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise _FieldError("invalid_type")
    if not (math.isfinite(found) and lowest <= found <= highest):
        raise _FieldError("out_of_range")
    return float(found)


def _instant(found: Any) -> datetime:
    if not isinstance(found, str):
        raise _FieldError("invalid_type")
    parts = _INSTANT.fullmatch(found)
    if parts is None:
        raise _FieldError("invalid_timestamp")
    *whole, fraction, zulu, sign, hours, minutes = parts.groups()
    offset = timedelta() if zulu else timedelta(hours=int(hours), minutes=int(minutes)) * (1 if sign == "+" else -1)
    microseconds = int((fraction or "0")[:6].ljust(6, "0"))
    try:
        year, month, day, hour, minute, second = map(int, whole)
        instant = datetime(year, month, day, hour, minute, second, microseconds, timezone(offset))
        return instant.astimezone(UTC)
    except (ValueError, OverflowError):
        raise _FieldError("invalid_timestamp") from None


def _within(instant: datetime, window: Window) -> datetime:
    if instant < window.oldest:
        raise _FieldError("timestamp_too_old")
    if instant > window.newest:
        raise _FieldError("timestamp_in_future")
    return instant


def _assignment_instant(found: Any) -> datetime:
    instant = _instant(found)
    if not OLDEST_ASSIGNMENT <= instant <= NEWEST_ASSIGNMENT:
        raise _FieldError("out_of_range")
    return instant
