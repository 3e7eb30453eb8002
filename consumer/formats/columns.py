"""Payloads of equal lengths, read column by column.

Neither Avro nor Protobuf says where in a payload a field is, so a reader goes through it byte by byte. But the payloads of one
schema that have the same length usually have their fields at the same places. That layout is found in one of them, and all are
unpacked with it; what it takes for granted is checked in all of them: the lengths of texts, tags, the ends of numbers.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from struct import Struct
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

LONGEST_NUMBER: Final = 9  # bytes of seven bits; the few longer ones are read otherwise
MOST_LAYOUTS: Final = 256  # of one schema
LAST_BYTES: Final = bytes([1] * 128 + [0] * 128)  # translates the last byte of a number to 1, and all before it to 0
CONTINUED: Final = 0x80  # set in all bytes of a number but the last

Columns = list[Sequence[Any]]


class NoLayoutError(Exception):
    """A schema has fields without a place, or a payload is not of its schema."""


class Number(IntEnum):
    """How an integer of variable length is encoded; the values are field numbers of the message that decodes them."""

    ZIGZAG = 1
    SIGNED = 2
    UNSIGNED = 3


@dataclass(slots=True)
class Layout:
    """Where the fields of payloads of one length are."""

    codes: list[str] = field(default_factory=list)  # of `struct`
    count: int = 0  # of the columns that they unpack
    expected: dict[int, bytes] = field(default_factory=dict)  # what a column has in all payloads
    numbers: dict[int, tuple[int, Number]] = field(default_factory=dict)  # length in bytes, and encoding
    texts: set[int] = field(default_factory=set)
    columns: dict[str, int] = field(default_factory=dict)  # of the needed fields
    defaults: dict[str, Any] = field(default_factory=dict)  # of needed fields that are not in the payloads
    unpack: Callable[[bytes], Any] | None = None

    def expect(self, content: bytes) -> None:
        """Add bytes that are the same in all payloads."""
        last = self.count - 1
        if self.codes and last in self.expected and self.codes[-1].endswith("s"):
            self.expected[last] += content
            self.codes[-1] = f"{len(self.expected[last])}s"
        else:
            self.expected[self._add(f"{len(content)}s")] = content

    def skip(self, size: int) -> None:
        """Add bytes of a field that is not needed."""
        self.codes.append(f"{size}x")

    def add(self, name: str | None, code: str, size: int) -> None:
        """Add a field of fixed length with its code in `struct`; `name` is None where it is not needed."""
        if name is None:
            self.skip(size)
        else:
            self._name(name, self._add(code))

    def add_number(self, name: str | None, size: int, encoding: Number) -> None:
        """Add a number of variable length, which has the same length in all payloads."""
        column = self._add(f"{size}s")
        self.numbers[column] = size, encoding
        if name is not None:
            self._name(name, column)

    def add_text(self, name: str, size: int) -> None:
        column = self._add(f"{size}s")
        self.texts.add(column)
        self._name(name, column)

    def read(self, payloads: Sequence[bytes], names: Sequence[str]) -> Columns | None:
        """The columns of the named fields; None unless all payloads have this layout."""
        if self.unpack is None:
            self.unpack = Struct("<" + "".join(self.codes)).iter_unpack
        needed = set(self.columns.values())
        columns: list[Any] = list(zip(*self.unpack(b"".join(payloads)), strict=True))
        if any(columns[number].count(content) != len(payloads) for number, content in self.expected.items()):
            return None
        for number, (size, encoding) in self.numbers.items():
            joined = b"".join(columns[number])
            if joined.translate(LAST_BYTES) != (bytes(size - 1) + b"\1") * len(payloads):
                return None
            if number in needed:
                columns[number] = _decoded(joined, encoding)
        for number in self.texts:
            columns[number] = b"\n".join(columns[number]).decode().split("\n")
            if len(columns[number]) != len(payloads):
                return None
        return [
            columns[self.columns[name]] if name in self.columns else [self.defaults[name]] * len(payloads)
            for name in names
        ]

    def _add(self, code: str) -> int:
        self.codes.append(code)
        self.count += 1
        return self.count - 1

    def _name(self, name: str, column: int) -> None:
        if name in self.columns:
            raise NoLayoutError
        self.columns[name] = column


class ColumnReader:
    """Reads the named fields of many payloads of one schema.

    Args:
        layout_of: the layout of one payload; raises NoLayoutError.
        names: of fields that each layout has.
    """

    def __init__(self, layout_of: Callable[[bytes], Layout], names: Sequence[str]) -> None:
        self._layout_of = layout_of
        self._names = names
        self._layouts: dict[tuple[int, int], Layout] = {}

    def read(self, values: Sequence[bytes], start: int) -> list[tuple[Sequence[int], Columns]] | None:
        """Groups of values whose payloads begin at `start`: the positions of each group, and its columns. None where the payloads
        of a length differ in their layout."""
        if len(set(map(len, values))) == 1:
            columns = self._read(values, start)
            return None if columns is None else [(range(len(values)), columns)]
        positions: dict[int, list[int]] = {}
        for position, length in enumerate(map(len, values)):
            positions.setdefault(length, []).append(position)
        groups: list[tuple[Sequence[int], Columns]] = []
        for places in positions.values():
            columns = self._read([values[each] for each in places], start)
            if columns is None:
                return None
            groups.append((places, columns))
        return groups

    def _read(self, values: Sequence[bytes], start: int) -> Columns | None:
        key = start, len(values[0])
        layout = self._layouts.get(key)
        if layout and (columns := layout.read(values, self._names)) is not None:
            return columns
        try:
            layout = self._layout_of(values[0][start:])
        except NoLayoutError:
            return None
        if start:
            layout.codes.insert(0, f"{start}x")
        if len(self._layouts) >= MOST_LAYOUTS:
            self._layouts.clear()
        self._layouts[key] = layout
        return layout.read(values, self._names)


def as_rows(
    groups: Sequence[tuple[Sequence[int], Columns]], convert: Callable[[Columns], Iterable[Sequence[Any]]]
) -> list[tuple[Any, ...]]:
    """The rows of all groups, each at the position of its payload, with their columns converted."""
    if len(groups) == 1:
        return list(zip(*convert(groups[0][1]), strict=True))
    rows: dict[int, tuple[Any, ...]] = {}
    for positions, columns in groups:
        rows.update(zip(positions, zip(*convert(columns), strict=True), strict=True))
    return list(map(rows.__getitem__, range(len(rows))))


def number_at(payload: bytes, start: int) -> tuple[int, int]:
    """The unsigned number of variable length at a position, and where it ends.

    Raises:
        NoLayoutError: there is none, or it is longer than LONGEST_NUMBER.
    """
    number = 0
    for position in range(start, min(start + LONGEST_NUMBER, len(payload))):
        number |= (payload[position] & ~CONTINUED) << 7 * (position - start)
        if payload[position] < CONTINUED:
            return number, position + 1
    raise NoLayoutError


def varint(number: int) -> bytes:
    """A number from 0 on in variable length."""
    encoded = bytearray()
    while number >= CONTINUED:
        encoded.append(number & ~CONTINUED & 0xFF | CONTINUED)
        number >>= 7
    return bytes([*encoded, number])


def _decoded(joined: bytes, encoding: Number) -> Sequence[int]:
    """The numbers in joined bytes, as Protobuf reads a list of them."""
    message = _numbers.FromString(b"".join((varint(encoding << 3 | 2), varint(len(joined)), joined)))
    found: Sequence[int] = getattr(message, encoding.name)
    return found


def _class_of_numbers() -> Any:
    declared = descriptor_pb2.FieldDescriptorProto
    types = {
        Number.ZIGZAG: declared.TYPE_SINT64,
        Number.SIGNED: declared.TYPE_INT64,
        Number.UNSIGNED: declared.TYPE_UINT64,
    }
    file = descriptor_pb2.FileDescriptorProto(name="numbers.proto", package="numbers", syntax="proto3")
    message = file.message_type.add(name="Numbers")
    for encoding, code in types.items():
        message.field.add(name=encoding.name, number=encoding, type=code, label=declared.LABEL_REPEATED)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("numbers.Numbers"))


_numbers: Final = _class_of_numbers()
