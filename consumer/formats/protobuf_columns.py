"""Payloads of one Protobuf message, read as columns.

Of a field that is in the bytes of a message several times, Protobuf merges the messages, and takes the last number or text. So
many payloads are parsed in two steps:

    records   each payload is a group of its own; what it has several times becomes one
    merged    all groups are one, in which numbers and texts are repeated: each of these is a column

Before each payload are the defaults of the fields that producers leave out, and behind it a mark of random bytes, which no
producer can know: where each group has a mark, each payload was exactly one group.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from consumer.formats.columns import varint
from consumer.formats.fields import Field

Declared = descriptor_pb2.FieldDescriptorProto
INSTANT: Final = {"seconds": Declared.TYPE_INT64, "nanos": Declared.TYPE_INT32}
BEGIN_GROUP, END_GROUP = b"\x0b", b"\x0c"  # the tags of a group with the number 1
WITH_LENGTH: Final = 2  # a wire type


@dataclass(frozen=True, slots=True)
class Column:
    """A field of a record type as a message has it; `attribute` is its name in the messages that are read here."""

    field: Field
    attribute: str
    number: int
    type: int
    presence: bool  # told from its default


class PayloadColumns:
    """Reads payloads of a message that has these fields, and others.

    Attributes:
        record: the class of one message.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = columns
        used = {each.number for each in columns}
        unused = (number for number in count(1) if number not in used)
        self._frame, self._mark = next(unused), next(unused)
        self.record, self._records, self._merged = self._classes()
        self._random = int.from_bytes(os.urandom(8), "little")
        self._end = self.record(mark=self._random).SerializeToString() + END_GROUP
        self._begin = BEGIN_GROUP + self._defaults()

    def read(self, values: Sequence[bytes], start: int) -> list[Sequence[Any]] | None:
        """The columns of the payloads that begin at `start`, two of them for a Timestamp: seconds and nanoseconds.

        None, or any error, unless each payload has all fields, and the same bytes before it.
        """
        begin = self._begin + varint(self._frame << 3 | WITH_LENGTH) + varint(start)
        between = self._end + begin
        joined = b"".join((self._end, begin, between.join(values), self._end))
        if joined.count(between + values[0][:start]) != len(values):
            return None
        records = self._records.FromString(joined[len(self._end) :])
        if len(records.record) != len(values):
            return None
        merged = self._merged.FromString(records.SerializeToString()).record
        if merged.mark[:] != [self._random] * len(values):
            return None
        columns = [each for column in self._columns for each in _elements(column, getattr(merged, column.attribute))]
        return columns if all(len(each) == len(values) for each in columns) else None

    def _defaults(self) -> bytes:
        """The bytes of the defaults of all fields that cannot be told from them; a Timestamp has nanoseconds by default."""
        message = self.record()
        for each in self._columns:
            if each.type == Declared.TYPE_MESSAGE:
                getattr(message, each.attribute).nanos = 0
            elif not each.presence:
                setattr(message, each.attribute, "" if each.type == Declared.TYPE_STRING else 0)
        content: bytes = message.SerializeToString()
        return content

    def _classes(self) -> tuple[Any, Any, Any]:
        """The classes of one message, of one that repeats it as `record`, and of one whose `record` has the columns."""
        file = descriptor_pb2.FileDescriptorProto(name="reader.proto", package="reader", syntax="proto2")
        self._declare(file.message_type.add(name="Records"), Declared.LABEL_REPEATED, Declared.LABEL_OPTIONAL)
        self._declare(file.message_type.add(name="Merged"), Declared.LABEL_OPTIONAL, Declared.LABEL_REPEATED)
        pool = descriptor_pool.DescriptorPool()
        pool.AddSerializedFile(file.SerializeToString())
        record, records, merged = (
            message_factory.GetMessageClass(pool.FindMessageTypeByName(f"reader.{name}"))
            for name in ("Records.Record", "Records", "Merged")
        )
        return record, records, merged

    def _declare(self, message: Any, records: Any, fields: Any) -> None:
        """Declare `record` and its fields, with these labels."""
        record, instant = message.nested_type.add(name="Record"), message.nested_type.add(name="Instant")
        for number, (name, code) in enumerate(INSTANT.items(), 1):
            instant.field.add(name=name, number=number, type=code, label=fields)
        for each in self._columns:
            if each.type == Declared.TYPE_MESSAGE:
                declared = record.field.add(name=each.attribute, number=each.number, type=each.type)
                declared.label, declared.type_name = Declared.LABEL_OPTIONAL, f".reader.{message.name}.Instant"
            else:
                record.field.add(name=each.attribute, number=each.number, type=each.type, label=fields)
        record.field.add(name="mark", number=self._mark, type=Declared.TYPE_FIXED64, label=fields)
        record.field.add(name="frame", number=self._frame, type=Declared.TYPE_BYTES, label=Declared.LABEL_OPTIONAL)
        group = message.field.add(name="record", number=1, type=Declared.TYPE_GROUP, label=records)
        group.type_name = f".reader.{message.name}.Record"


def _elements(column: Column, found: Any) -> list[Sequence[Any]]:
    return [found.seconds[:], found.nanos[:]] if column.type == Declared.TYPE_MESSAGE else [found[:]]
