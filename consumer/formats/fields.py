"""What a record type asks of a schema: a field for each of its own, of a type that can be stored."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from typing import Any, Final, Protocol

import msgspec

from consumer.formats.errors import IncompatibleSchemaError
from consumer.records.record_type import RecordType, Row
from schemas.records.readings import INSTANTS, FieldError, InvalidReading, Reason

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Kind(Enum):
    """What the content of a field is."""

    TEXT = auto()
    NUMBER = auto()
    INSTANT = auto()


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a record type, under its name in JSON."""

    name: str
    kind: Kind
    required: bool


class Reader(Protocol):
    """Reads the payloads of one schema."""

    def rows(self, values: Sequence[bytes], start: int) -> list[Row] | None:
        """The rows of many values whose payloads begin at `start`; None, or any error, unless each is certainly valid but for the
        characters of its device id and the limits of its instant."""

    def as_json(self, payload: bytes) -> bytes:
        """One payload as JSON, with the fields of the record type alone; its content is not validated.

        Raises:
            InvalidReading: the payload cannot be read, or has a number or instant that JSON cannot express.
        """


def fields_of(record_type: RecordType) -> list[Field]:
    """The fields of a record type, in the order of a row."""
    return [
        Field(each.encode_name, _kind(each.encode_name, each.type), each.required)
        for each in msgspec.structs.fields(record_type.struct)
    ]


def _kind(name: str, annotation: Any) -> Kind:
    if name in INSTANTS:
        return Kind.INSTANT
    inner = msgspec.inspect.type_info(annotation)
    if isinstance(inner, msgspec.inspect.Metadata):
        inner = inner.type
    return Kind.TEXT if isinstance(inner, msgspec.inspect.StrType) else Kind.NUMBER


def columns_type(record_type: RecordType) -> Any:
    """The type of the columns of rows, for msgspec: with the limits of each field."""
    columns = tuple(list[each.type] for each in msgspec.structs.fields(record_type.struct))  # type: ignore[name-defined]
    return tuple[columns]  # type: ignore[valid-type]


def valid_rows(columns: Sequence[Sequence[Any]], types: Any) -> list[Row]:
    """The rows of columns of a `columns_type`; instants are in seconds since 1970, or texts.

    Raises:
        msgspec.ValidationError: a value is outside of its limits.
    """
    return list(zip(*msgspec.convert(columns, types, strict=False), strict=True))


def require(missing: Sequence[str], wrong: Sequence[str]) -> None:
    """Raise for a schema that lacks fields, or has others than can be read ("voltage is a string, not a number").

    Raises:
        IncompatibleSchemaError: there are any.
    """
    problems = [f"it lacks {', '.join(missing)}"] if missing else []
    if problems := [*problems, *wrong]:
        raise IncompatibleSchemaError("; ".join(problems))


def to_json(values: dict[str, Any]) -> bytes:
    """Fields by name as JSON; absent ones are left out, instants are datetimes or texts.

    Raises:
        InvalidReading: a number is not finite.
    """
    for name, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise invalid(Reason.OUT_OF_RANGE, f"{name} is not a finite number", name)
    return msgspec.json.encode(values)


def instant(name: str, amount: int, per_second: int) -> datetime:
    """The instant that is an amount of units after 1970.

    Raises:
        InvalidReading: it is not in the years 1 to 9999.
    """
    try:
        return EPOCH + timedelta(microseconds=amount * 1_000_000 // per_second)
    except OverflowError:
        detail = f"{name} {amount} is not an instant in the years 1 to 9999"
        raise invalid(Reason.INVALID_TIMESTAMP, detail, name) from None


def invalid(reason: Reason, detail: str, field: str = "") -> InvalidReading:
    """The rejection of a record for one reason."""
    return InvalidReading((FieldError(field, reason, detail),))
