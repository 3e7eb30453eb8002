"""Where the fields of a Protobuf payload are (columns.py)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from google.protobuf import descriptor_pb2

from consumer.formats.columns import Layout, NoLayoutError, Number, number_at

Declared = descriptor_pb2.FieldDescriptorProto
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5  # how a tag says that its field ends
ENCODINGS: Final[dict[int, Number]] = {
    **dict.fromkeys((Declared.TYPE_INT32, Declared.TYPE_INT64), Number.SIGNED),
    **dict.fromkeys((Declared.TYPE_SINT32, Declared.TYPE_SINT64), Number.ZIGZAG),
    **dict.fromkeys((Declared.TYPE_UINT32, Declared.TYPE_UINT64), Number.UNSIGNED),
}
CODES: Final[dict[int, dict[int, str]]] = {
    FIXED64: {Declared.TYPE_DOUBLE: "d", Declared.TYPE_FIXED64: "Q", Declared.TYPE_SFIXED64: "q"},
    FIXED32: {Declared.TYPE_FLOAT: "f", Declared.TYPE_FIXED32: "I", Declared.TYPE_SFIXED32: "i"},
}
LARGEST_NUMBER: Final = 2**29 - 1  # of a field; the smallest is 1
SIZES: Final = {FIXED64: 8, FIXED32: 4}


@dataclass(frozen=True, slots=True)
class Place:
    """A needed field: its name, its type, and those of its own fields that are needed, as a a Timestamp has them."""

    name: str
    type: int
    inner: "Mapping[int, Place] | None" = None


def layout_of(places: Mapping[int, Place], payload: bytes) -> Layout:
    """The layout of a payload; `places` has the needed fields by their numbers.

    Raises:
        NoLayoutError: the payload is not of its schema, or a field is in it twice.
    """
    layout = Layout()
    _add_fields(layout, places, payload, 0, len(payload))
    return layout


def _add_fields(layout: Layout, places: Mapping[int, Place], payload: bytes, start: int, end: int) -> None:
    while start < end:
        tag, after = number_at(payload, start)
        if not 0 < tag >> 3 <= LARGEST_NUMBER:
            raise NoLayoutError
        layout.expect(payload[start:after])
        start = _add(layout, places.get(tag >> 3), tag & 7, payload, after)
    if start != end:
        raise NoLayoutError


def _add(layout: Layout, place: Place | None, wire: int, payload: bytes, start: int) -> int:
    """Add the content of a field; returns where it ends. `place` is None where it is not needed."""
    if wire == VARINT:
        _, end = number_at(payload, start)
        encoding = ENCODINGS.get(place.type) if place else Number.UNSIGNED
        if encoding is None:
            raise NoLayoutError
        layout.add_number(place.name if place else None, end - start, encoding)
        return end
    if wire in SIZES:
        code = CODES[wire].get(place.type) if place else ""
        if code is None:
            raise NoLayoutError
        layout.add(place.name if place else None, code, SIZES[wire])
        return start + SIZES[wire]
    if wire == LENGTH:
        return _add_with_length(layout, place, payload, start)
    raise NoLayoutError


def _add_with_length(layout: Layout, place: Place | None, payload: bytes, start: int) -> int:
    length, begin = number_at(payload, start)
    layout.expect(payload[start:begin])
    if place is None:
        layout.skip(length)
    elif place.inner is not None:
        _add_fields(layout, place.inner, payload, begin, begin + length)
    elif place.type == Declared.TYPE_STRING:
        layout.add_text(place.name, length)
    else:
        raise NoLayoutError
    return begin + length
