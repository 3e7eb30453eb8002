"""Confluent's wire format: the schema that a value was written with, and where its payload begins.

A value is a magic byte, the schema's id or GUID, and the payload. A payload of Protobuf begins with the indexes that lead to the
message within the schema. Some producers send what is before the payload in the header `__value_schema_id` instead.
"""

import uuid
from typing import Final

ID_MAGIC: Final = 0  # followed by an id of four bytes, big-endian
GUID_MAGIC: Final = 1  # followed by the sixteen bytes of a GUID
LENGTHS: Final = {ID_MAGIC: 5, GUID_MAGIC: 17}
MOST_INDEXES: Final = 32  # of messages that are declared within one another


class FrameError(ValueError):
    """A value does not begin as the wire format says; the message says how."""


def schema_key(value: bytes) -> bytes:
    """The magic byte and the id or GUID of a value's schema; empty for a value that begins with no magic byte.

    Raises:
        FrameError: the value ends within the id.
    """
    if not value or value[0] not in LENGTHS:
        return b""
    key = value[: LENGTHS[value[0]]]
    if len(key) < LENGTHS[value[0]]:
        raise FrameError(f"the value has {len(value)} bytes and ends within the id of its schema")
    return key


def schema_name(key: bytes) -> str:
    """The id or GUID in a key, as people write it."""
    return str(int.from_bytes(key[1:], "big")) if key[0] == ID_MAGIC else str(uuid.UUID(bytes=key[1:]))


def message_indexes(payload: bytes) -> tuple[tuple[int, ...], int]:
    """The indexes that lead to the message of a Protobuf payload, and their length in bytes.

    Raises:
        FrameError: these are no indexes.
    """
    number, position = _zigzag(payload, 0)
    if number == 0:  # short for the first message of the schema
        return (0,), position
    if not 0 < number <= MOST_INDEXES:
        raise FrameError(f"the value has {number} message indexes")
    indexes = []
    for _ in range(number):
        index, position = _zigzag(payload, position)
        indexes.append(index)
    return tuple(indexes), position


def _zigzag(payload: bytes, position: int) -> tuple[int, int]:
    """The signed integer at a position, and the position after it."""
    number = shift = 0
    while position < len(payload) and shift < 35:  # noqa: PLR2004 - five bytes of seven bits
        byte = payload[position]
        number |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:  # noqa: PLR2004 - the last byte has no continuation bit
            return (number >> 1) ^ -(number & 1), position
    raise FrameError("the value has no valid message indexes")
