"""Readings spoilt in every way the contract knows, each with the reason code it must be refused with."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec

from deploy.simulator.readings import Record, Side, encode
from schemas.records.readings import Reason

Fields = dict[str, Any]


class Variety(NamedTuple):
    """One way to spoil a reading."""

    name: str
    reason: Reason
    spoil: Callable[[Side, Fields], bytes | None]


def spoilt(record: Record, variety: Variety) -> Record:
    """A malformed copy of a good record, with the same key."""
    fields = msgspec.json.decode(record.value or b"{}", type=Fields)
    return record._replace(value=variety.spoil(record.side, fields))


def _with(**changes: object) -> Callable[[Side, Fields], bytes]:
    """Other values for `id`, `kwh` or `timestamp`."""

    def spoil(side: Side, fields: Fields) -> bytes:
        return encode(fields | {_FIELDS[side].get(name, name): value for name, value in changes.items()})

    return spoil


def _without_kwh(side: Side, fields: Fields) -> bytes:
    return encode({name: value for name, value in fields.items() if name != _FIELDS[side]["kwh"]})


def _not_a_number(side: Side, fields: Fields) -> bytes:
    return _with(kwh="NaN")(side, fields).replace(b'"NaN"', b"NaN")


_FIELDS: Final[dict[Side, dict[str, str]]] = {
    Side.METER: {"id": "meterId", "kwh": "kwhConsumedAc"},
    Side.VEHICLE: {"id": "vehicleId", "kwh": "kwhDeliveredDc"},
}

VARIETIES: Final = (
    Variety("broken JSON", Reason.INVALID_JSON, lambda _, fields: encode(fields)[:-9]),
    Variety("not a number", Reason.INVALID_JSON, _not_a_number),
    Variety("not UTF-8", Reason.INVALID_JSON, lambda _, fields: b'{"meterId": "\xff\xfe"}' + encode(fields)),
    Variety("array", Reason.NOT_AN_OBJECT, lambda _, fields: encode([fields])),
    Variety("missing field", Reason.MISSING_FIELD, _without_kwh),
    Variety("text for a number", Reason.INVALID_TYPE, _with(kwh="0.5")),
    Variety("negative energy", Reason.OUT_OF_RANGE, _with(kwh=-0.5)),
    Variety("too much energy", Reason.OUT_OF_RANGE, _with(kwh=1000.5)),
    Variety("bad id", Reason.INVALID_ID, _with(id="METER 001;")),
    Variety("naive timestamp", Reason.INVALID_TIMESTAMP, _with(timestamp="2026-02-09T15:30:00")),
    Variety("timestamp of the last century", Reason.TIMESTAMP_TOO_OLD, _with(timestamp="1999-12-31T23:59:59Z")),
    Variety("timestamp of the next century", Reason.TIMESTAMP_IN_FUTURE, _with(timestamp="2100-01-01T00:00:00Z")),
    Variety("empty value", Reason.EMPTY_VALUE, lambda *_: b""),
    Variety("null value", Reason.EMPTY_VALUE, lambda *_: None),
)
