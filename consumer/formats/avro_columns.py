"""Payloads in Avro of equal lengths, read column by column.

Avro has no field numbers and no offsets, so a reader goes through a payload byte by byte. But the payloads of one schema that
have the same length usually have their fields at the same places: that layout is found in one of them, all are unpacked with it,
and what it takes for granted is checked in all: the lengths of texts, the branches of unions, the ends of numbers.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from struct import Struct
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SIZES: Final = {"double": 8, "float": 4, "boolean": 1, "null": 0}
CODES: Final = {"double": "d", "float": "f"}
LONGEST_NUMBER: Final = 9  # bytes of seven bits: 63 bits
LAST_BYTES: Final = bytes([1] * 128 + [0] * 128)  # translates the last byte of a number to 1, and all before it to 0
MOST_LAYOUTS: Final = 256

Row = tuple[Any, ...]


class NoLayoutError(Exception):
    """A schema has fields without a fixed place, or a payload is not of its schema."""


@dataclass(slots=True)
class _Layout:
    """Where the fields of payloads of one length are.

    Attributes:
        codes: of `struct`; a column for each but the pads.
        expected: what all payloads have in a column, by its number.
        numbers: the length in bytes of the numbers of variable length in a column.
        columns: the column of each needed field.
        texts: the columns of needed texts.
    """

    codes: list[str] = field(default_factory=list)
    count: int = 0
    expected: dict[int, bytes] = field(default_factory=dict)
    numbers: dict[int, int] = field(default_factory=dict)
    columns: dict[str, int] = field(default_factory=dict)
    texts: set[int] = field(default_factory=set)
    unpack: Struct = field(default_factory=lambda: Struct(""))

    def add(self, code: str) -> int:
        """Add a column; its number."""
        self.codes.append(code)
        self.count += 1
        return self.count - 1

    def read(self, payloads: Sequence[bytes], names: Iterable[str]) -> list[Sequence[Any]] | None:
        """The columns of the named fields; None unless all payloads have this layout."""
        columns: list[Any] = list(zip(*self.unpack.iter_unpack(b"".join(payloads)), strict=True))
        if any(columns[number].count(content) != len(payloads) for number, content in self.expected.items()):
            return None
        for number, size in self.numbers.items():
            joined = b"".join(columns[number])
            if joined.translate(LAST_BYTES) != (bytes(size - 1) + b"\1") * len(payloads):
                return None
            columns[number] = _signed(joined)
        for number in self.texts:
            columns[number] = b"\n".join(columns[number]).decode().split("\n")
            if len(columns[number]) != len(payloads):
                return None
        return [columns[self.columns[name]] for name in names]


class AvroColumns:
    """Reads the needed fields of many payloads of one schema."""

    def __init__(self, definition: dict[str, Any], names: Sequence[str]) -> None:
        """Raises NoLayoutError where the schema has arrays, maps, or types that are defined elsewhere."""
        self._definition = definition
        self._names = list(names)
        self._layouts: dict[int, _Layout] = {}
        _check(definition)

    def read(self, payloads: Sequence[bytes]) -> list[tuple[list[int], list[Sequence[Any]]]] | None:
        """The columns of the needed fields, of groups of payloads; each with the positions of its payloads. None where the layout
        of one payload is not that of others of its length."""
        positions: dict[int, list[int]] = {}
        for position, length in enumerate(map(len, payloads)):
            positions.setdefault(length, []).append(position)
        groups = []
        for length, places in positions.items():
            group = [payloads[each] for each in places] if len(positions) > 1 else payloads
            columns = self._read(length, group)
            if columns is None:
                return None
            groups.append((places, columns))
        return groups

    def _read(self, length: int, payloads: Sequence[bytes]) -> list[Sequence[Any]] | None:
        known = self._layouts.get(length)
        if known and (columns := known.read(payloads, self._names)) is not None:
            return columns
        try:
            layout = self._layout_of(payloads[0])
        except NoLayoutError:
            return None
        if len(self._layouts) >= MOST_LAYOUTS:
            self._layouts.clear()
        self._layouts[length] = layout
        return layout.read(payloads, self._names)

    def _layout_of(self, payload: bytes) -> _Layout:
        layout, needed = _Layout(), frozenset(self._names)
        end = 0
        for each in self._definition["fields"]:
            end = _add(layout, each["type"], each["name"] if each["name"] in needed else None, payload, end)
        if end != len(payload):
            raise NoLayoutError
        layout.unpack = Struct("<" + "".join(layout.codes))
        return layout


def _check(definition: Any) -> None:
    """Raises NoLayoutError for a type that has no layout."""
    if isinstance(definition, list):
        for each in definition:
            _check(each)
        return
    name = definition.get("type") if isinstance(definition, dict) else definition
    if name == "record":
        for each in definition["fields"]:
            _check(each["type"])
    elif isinstance(name, dict | list):
        _check(name)
    elif name not in {*SIZES, "string", "bytes", "int", "long", "enum", "fixed"}:
        raise NoLayoutError


def _add(layout: _Layout, definition: Any, name: str | None, payload: bytes, start: int) -> int:
    """Add a field to a layout, as it is in a payload; returns where it ends. `name` is None where it is not needed."""
    if isinstance(definition, list):
        branch, end = _number(payload, start)
        if not 0 <= branch < len(definition):
            raise NoLayoutError
        layout.expected[layout.add(f"{end - start}s")] = payload[start:end]
        return _add(layout, definition[branch], name, payload, end)
    kind = definition["type"] if isinstance(definition, dict) else definition
    if isinstance(kind, dict | list):
        return _add(layout, kind, name, payload, start)
    if kind == "record":
        for each in definition["fields"]:
            start = _add(layout, each["type"], None, payload, start)
        return start
    if kind in {"int", "long", "enum"}:
        return _add_number(layout, name, payload, start)
    if kind in {"string", "bytes"}:
        return _add_text(layout, name, payload, start)
    if name is not None and kind == "null":
        raise NoLayoutError
    size = definition["size"] if kind == "fixed" else SIZES[kind]
    if name is None:
        layout.codes.append(f"{size}x")
    else:
        layout.columns[name] = layout.add(CODES[kind])
    return start + size


def _add_number(layout: _Layout, name: str | None, payload: bytes, start: int) -> int:
    _, end = _number(payload, start)
    column = layout.add(f"{end - start}s")
    layout.numbers[column] = end - start
    if name is not None:
        layout.columns[name] = column
    return end


def _add_text(layout: _Layout, name: str | None, payload: bytes, start: int) -> int:
    length, begin = _number(payload, start)
    if length < 0:
        raise NoLayoutError
    layout.expected[layout.add(f"{begin - start}s")] = payload[start:begin]
    if name is None:
        layout.codes.append(f"{length}x")
    else:
        column = layout.columns[name] = layout.add(f"{length}s")
        layout.texts.add(column)
    return begin + length


def _number(payload: bytes, start: int) -> tuple[int, int]:
    """The signed number of variable length at a position, and where it ends."""
    number = 0
    for position in range(start, min(start + LONGEST_NUMBER, len(payload))):
        number |= (payload[position] & 0x7F) << 7 * (position - start)
        if payload[position] < 0x80:  # noqa: PLR2004 - the last byte has no continuation bit
            return (number >> 1) ^ -(number & 1), position + 1
    raise NoLayoutError


def _signed(joined: bytes) -> Sequence[int]:
    """The numbers of variable length in joined bytes. Protobuf has the same encoding, and reads it in C."""
    length, encoded = len(joined), bytearray()
    while length > 0x7F:  # noqa: PLR2004 - seven bits a byte
        encoded.append(length & 0x7F | 0x80)
        length >>= 7
    numbers: Sequence[int] = _numbers.FromString(b"\n" + bytes([*encoded, length]) + joined).numbers
    return numbers


def _class_of_numbers() -> Any:
    declared = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="numbers.proto", package="numbers", syntax="proto3")
    message = file.message_type.add(name="Numbers")
    message.field.add(name="numbers", number=1, type=declared.TYPE_SINT64, label=declared.LABEL_REPEATED)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("numbers.Numbers"))


_numbers: Final = _class_of_numbers()
