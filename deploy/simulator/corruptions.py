"""Corruptions of readings: one or more for every reason code with which a reading is rejected."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec

from deploy.simulator.readings import Record, RecordType, encode
from schemas.records.readings import Reason

Fields = dict[str, Any]


class Corruption(NamedTuple):
    """One way to make a reading malformed, and the reason code of its rejection."""

    name: str
    reason: Reason
    apply: Callable[[RecordType, Fields], bytes | None]


def corrupted(record: Record, corruption: Corruption) -> Record:
    """A malformed copy of a valid record, with the same key."""
    fields = msgspec.json.decode(record.value or b"{}", type=Fields)
    return record._replace(value=corruption.apply(record.record_type, fields))


def _with(**changes: object) -> Callable[[RecordType, Fields], bytes]:
    """Replaces values of `id`, `kwh` or `timestamp`."""

    def replace(record_type: RecordType, fields: Fields) -> bytes:
        return encode(fields | {_FIELDS[record_type].get(name, name): value for name, value in changes.items()})

    return replace


def _without_kwh(record_type: RecordType, fields: Fields) -> bytes:
    return encode({name: value for name, value in fields.items() if name != _FIELDS[record_type]["kwh"]})


def _not_a_number(record_type: RecordType, fields: Fields) -> bytes:
    return _with(kwh="NaN")(record_type, fields).replace(b'"NaN"', b"NaN")


_FIELDS: Final[dict[RecordType, dict[str, str]]] = {
    RecordType.METER: {"id": "meterId", "kwh": "kwhConsumedAc"},
    RecordType.VEHICLE: {"id": "vehicleId", "kwh": "kwhDeliveredDc"},
}

CORRUPTIONS: Final = (
    Corruption("broken JSON", Reason.INVALID_JSON, lambda _, fields: encode(fields)[:-9]),
    Corruption("not a number", Reason.INVALID_JSON, _not_a_number),
    Corruption("not UTF-8", Reason.INVALID_JSON, lambda _, fields: b'{"meterId": "\xff\xfe"}' + encode(fields)),
    Corruption("array", Reason.NOT_AN_OBJECT, lambda _, fields: encode([fields])),
    Corruption("missing field", Reason.MISSING_FIELD, _without_kwh),
    Corruption("text for a number", Reason.INVALID_TYPE, _with(kwh="0.5")),
    Corruption("negative energy", Reason.OUT_OF_RANGE, _with(kwh=-0.5)),
    Corruption("too much energy", Reason.OUT_OF_RANGE, _with(kwh=1000.5)),
    Corruption("bad id", Reason.INVALID_ID, _with(id="METER 001;")),
    Corruption("naive timestamp", Reason.INVALID_TIMESTAMP, _with(timestamp="2026-02-09T15:30:00")),
    Corruption("timestamp of the last century", Reason.TIMESTAMP_TOO_OLD, _with(timestamp="1999-12-31T23:59:59Z")),
    Corruption("timestamp of the next century", Reason.TIMESTAMP_IN_FUTURE, _with(timestamp="2100-01-01T00:00:00Z")),
    Corruption("empty value", Reason.EMPTY_VALUE, lambda *_: b""),
    Corruption("null value", Reason.EMPTY_VALUE, lambda *_: None),
)
