"""Payloads of Avro of equal lengths, read column by column.

Avro does not say where in a payload a field is, so a reader goes through it byte by byte. But the payloads of one schema that
have the same length usually have their fields at the same places. That layout is found in one of them, and all are unpacked
with it; what it takes for granted is checked in all of them: the lengths of texts, the branches of unions, the ends of numbers.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from struct import Struct
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from consumer.records.record_type import Row

LONGEST_NUMBER: Final = 9  # bytes of seven bits; the few longer ones are read otherwise
MOST_LAYOUTS: Final = 256  # of one schema
LAST_BYTES: Final = bytes([1] * 128 + [0] * 128)  # translates the last byte of a number to 1, and all before it to 0
CONTINUED: Final = 0x80  # set in all bytes of a number but the last

Columns = list[Sequence[Any]]


class NoLayoutError(Exception):
    """A schema has fields without a place, or a payload is not of its schema."""


@dataclass(slots=True)
class Layout:
    """Where the fields of payloads of one length are."""

    codes: list[str] = field(default_factory=list)  # of `struct`
    count: int = 0  # of the columns that they unpack
    expected: dict[int, bytes] = field(default_factory=dict)  # what a column has in all payloads
    numbers: dict[int, int] = field(default_factory=dict)  # length in bytes
    texts: set[int] = field(default_factory=set)
    columns: dict[str, int] = field(default_factory=dict)  # of the needed fields
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

    def add_number(self, name: str | None, size: int) -> None:
        """Add a number of variable length, which has the same length in all payloads."""
        column = self._add(f"{size}s")
        self.numbers[column] = size
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
        for number, size in self.numbers.items():
            joined = b"".join(columns[number])
            if joined.translate(LAST_BYTES) != (bytes(size - 1) + b"\1") * len(payloads):
                return None
            if number in needed:
                columns[number] = _decoded(joined)
        for number in self.texts:
            columns[number] = b"\n".join(columns[number]).decode().split("\n")
            if len(columns[number]) != len(payloads):
                return None
        return [columns[self.columns[name]] for name in names]

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

    def read(self, values: Sequence[bytes], start: int) -> dict[int, Columns] | None:
        """The columns of the values of each length, whose payloads begin at `start`.

        None where the payloads of a length differ in their layout.
        """
        by_length: dict[int, list[bytes]] = defaultdict(list)
        for value in values:
            by_length[len(value)].append(value)
        groups: dict[int, Columns] = {}
        for length, alike in by_length.items():
            columns = self._read(alike, start)
            if columns is None:
                return None
            groups[length] = columns
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


def in_order(values: Sequence[bytes], rows: dict[int, list[Row]]) -> list[Row]:
    """The rows of values of each length, in the order of the values."""
    following = {length: iter(each) for length, each in rows.items()}
    return list(map(next, map(following.__getitem__, map(len, values))))


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


def _decoded(joined: bytes) -> Sequence[int]:
    """The numbers in joined bytes, as Protobuf reads a packed list of sint64, which is encoded as Avro's long is."""
    message = _numbers.FromString(b"".join((_TAG, varint(len(joined)), joined)))
    found: Sequence[int] = message.numbers
    return found


def _class_of_numbers() -> Any:
    declared = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="numbers.proto", package="numbers", syntax="proto3")
    message = file.message_type.add(name="Numbers")
    message.field.add(name="numbers", number=1, type=declared.TYPE_SINT64, label=declared.LABEL_REPEATED)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("numbers.Numbers"))


_TAG: Final = b"\n"  # of field 1, which has a length
_numbers: Final = _class_of_numbers()
