"""Values with the id of a schema in front: a meter's reading in Avro, the only one that a scenario sends."""

import struct
from datetime import UTC, datetime, timedelta
from typing import Any, Final

FRAME: Final = 5  # bytes: zero, and the id of the schema
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def is_framed(value: bytes | None) -> bool:
    return bool(value) and value[:1] == b"\0"  # type: ignore[index]


def meter_members(value: bytes) -> dict[str, Any]:
    """The members that the reading has in JSON: meterId, timestamp in microseconds, kwhConsumedAc, voltage, in this order."""
    length, begin = _long(value, FRAME)
    end = begin + length
    microseconds, numbers = _long(value, end)
    kwh, voltage = struct.unpack("<dd", value[numbers:])
    return {
        "meterId": value[begin:end].decode(),
        "timestamp": (EPOCH + timedelta(microseconds=microseconds)).isoformat(),
        "kwhConsumedAc": kwh,
        "voltage": voltage,
    }


def _long(value: bytes, start: int) -> tuple[int, int]:
    number = shift = 0
    for position in range(start, len(value)):
        number |= (value[position] & 0x7F) << shift
        shift += 7
        if value[position] < 0x80:
            return (number >> 1) ^ -(number & 1), position + 1
    raise ValueError("a number has no end")
