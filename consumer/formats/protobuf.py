"""Payloads in Protobuf.

A reader is made of the fields that are needed alone: Protobuf skips all others. The registry has the text of the schema.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from antlr4.error.ErrorListener import ErrorListener
from google.protobuf.message import DecodeError
from proto_schema_parser import ast
from proto_schema_parser.parser import Parser

from consumer.formats.errors import IncompatibleSchemaError
from consumer.formats.fields import Field, Kind, columns_type, fields_of, instant, invalid, require, to_json, valid_rows
from consumer.formats.framing import FrameError, message_indexes
from consumer.formats.protobuf_columns import Column, Declared, PayloadColumns
from consumer.formats.registry import RegisteredSchema
from consumer.records.record_type import RecordType, Row
from schemas.records.readings import Reason

FLOATS: Final = {"double": Declared.TYPE_DOUBLE, "float": Declared.TYPE_FLOAT}
INTEGERS: Final = {
    "int32": Declared.TYPE_INT32,
    "int64": Declared.TYPE_INT64,
    "uint32": Declared.TYPE_UINT32,
    "uint64": Declared.TYPE_UINT64,
    "sint32": Declared.TYPE_SINT32,
    "sint64": Declared.TYPE_SINT64,
    "fixed32": Declared.TYPE_FIXED32,
    "fixed64": Declared.TYPE_FIXED64,
    "sfixed32": Declared.TYPE_SFIXED32,
    "sfixed64": Declared.TYPE_SFIXED64,
}
TEXTS: Final = {"string": Declared.TYPE_STRING}
TIMESTAMPS: Final = dict.fromkeys(("google.protobuf.Timestamp", ".google.protobuf.Timestamp"), Declared.TYPE_MESSAGE)
TYPES: Final = {
    Kind.TEXT: TEXTS,
    Kind.NUMBER: FLOATS | INTEGERS,
    Kind.INSTANT: TEXTS | TIMESTAMPS | {name: code for name, code in INTEGERS.items() if name.endswith("64")},
}
ALLOWED: Final = {
    Kind.TEXT: "a string",
    Kind.NUMBER: "a double, float or integer",
    Kind.INSTANT: "a google.protobuf.Timestamp, a string, or an integer of 64 bits with milliseconds",
}
MILLISECONDS: Final = 1000
NANOSECONDS: Final = 1_000_000_000


class ProtobufReader:
    """Reads the payloads of one schema, which may have several messages."""

    def __init__(self, schema: RegisteredSchema, record_type: RecordType) -> None:
        """Raises IncompatibleSchemaError for a schema that cannot be used."""
        try:
            self._file = Parser(setup_lexer=_strict, setup_parser=_strict).parse(schema.text)
        except Exception as error:  # noqa: BLE001 - of many types, for texts that are no schema
            raise IncompatibleSchemaError(f"it is not valid Protobuf: {error}") from None
        self._record_type = record_type
        self._messages: dict[tuple[int, ...], _Message] = {}  # by their indexes
        messages = _declared(self._file.file_elements)
        if not messages:
            raise IncompatibleSchemaError("it has no message")
        if len(messages) == 1 and not _declared(messages[0].elements):
            self._message((0,))  # the only one: an error of it is one of the schema

    def rows(self, values: Sequence[bytes], start: int) -> list[Row] | None:
        """See `Reader`."""
        message, length = self._message_of(values[0][start:])
        return message.rows(values, start + length)

    def as_json(self, payload: bytes) -> bytes:
        """See `Reader`."""
        try:
            message, length = self._message_of(payload)
        except FrameError as error:
            raise invalid(Reason.INVALID_FRAME, str(error)) from None
        except IncompatibleSchemaError as error:
            raise invalid(Reason.INCOMPATIBLE_SCHEMA, f"the message of the schema cannot be read: {error}") from None
        return message.as_json(payload[length:])

    def _message_of(self, payload: bytes) -> "tuple[_Message, int]":
        path, length = message_indexes(payload)
        if path not in self._messages:
            self._messages[path] = self._message(path)
        return self._messages[path], length

    def _message(self, path: tuple[int, ...]) -> "_Message":
        elements: Sequence[Any] = self._file.file_elements
        for index in path:
            messages = _declared(elements)
            if not 0 <= index < len(messages):
                raise FrameError(f"the schema has no message with the indexes {list(path)}")
            elements = messages[index].elements
        implicit = self._file.syntax == "proto3"
        return _Message(_columns(elements, fields_of(self._record_type), implicit=implicit), self._record_type)


class _Message:
    """Reads one message of a schema."""

    def __init__(self, columns: list[Column], record_type: RecordType) -> None:
        self._columns = columns
        self._payloads = PayloadColumns(columns)
        complete = len(columns) == len(fields_of(record_type)) and record_type.decode_lines
        self._types = columns_type(record_type) if complete else None

    def rows(self, values: Sequence[bytes], start: int) -> list[Row] | None:
        """See `Reader`."""
        if self._types is None:
            return None
        found = self._payloads.read(values, start)
        if found is None:
            return None
        remaining = iter(found)
        return valid_rows([_values(each, remaining) for each in self._columns], self._types)

    def as_json(self, payload: bytes) -> bytes:
        """See `Reader`."""
        try:
            message = self._payloads.record.FromString(payload)
            values = {
                each.field.name: _value(each, getattr(message, each.attribute))
                for each in self._columns
                if not each.presence or message.HasField(each.attribute)
            }
        except (DecodeError, UnicodeDecodeError) as error:
            raise invalid(Reason.INVALID_ENCODING, f"not of its Protobuf schema: {error}") from None
        return to_json(values)


class _Strict(ErrorListener):  # type: ignore[misc]
    """Raises the first error of syntax, which the parser would print, and read on."""

    def syntaxError(self, _recognizer: Any, _symbol: Any, line: int, column: int, message: str, _: Any) -> None:  # noqa: N802
        raise ValueError(f"line {line}, column {column + 1}: {message[:200]}")


def _strict(recognizer: Any) -> None:
    recognizer.removeErrorListeners()
    recognizer.addErrorListener(_Strict())


def _declared(elements: Sequence[Any]) -> list[ast.Message]:
    return [each for each in elements if isinstance(each, ast.Message)]


def _columns(elements: Sequence[Any], fields: Sequence[Field], *, implicit: bool) -> list[Column]:
    """The needed fields of a message; `implicit`: without a label, a field that is absent has its default."""
    written = {_json_name(each): (each, in_oneof) for each, in_oneof in _fields(elements)}
    columns, wrong = [], []
    for position, field in enumerate(each for each in fields if each.name in written):
        found, in_oneof = written[field.name]
        code = TYPES[field.kind].get(found.type)
        if code is None or found.cardinality is ast.FieldCardinality.REPEATED:
            label = "repeated " if found.cardinality is ast.FieldCardinality.REPEATED else ""
            wrong.append(f"{field.name} is {label}{found.type} and must be {ALLOWED[field.kind]}")
            continue
        presence = in_oneof or not implicit or found.cardinality is not None or code == Declared.TYPE_MESSAGE
        columns.append(Column(field, f"field{position}", found.number, code, presence))
    require([each.name for each in fields if each.required and each.name not in written], wrong)
    return columns


def _fields(elements: Sequence[Any]) -> Iterator[tuple[ast.Field, bool]]:
    """The fields of a message, and whether each is in a oneof."""
    for each in elements:
        if isinstance(each, ast.Field):
            yield each, False
        elif isinstance(each, ast.OneOf):
            yield from ((one, True) for one in each.elements if isinstance(one, ast.Field))


def _json_name(field: ast.Field) -> str:
    for option in field.options:
        if option.name == "json_name":
            return str(option.value)
    first, *others = field.name.split("_")
    return first + "".join(each[:1].upper() + each[1:] for each in others)


def _values(column: Column, found: Iterator[Sequence[Any]]) -> Sequence[Any]:
    """The next column of what was found, as `validated` takes it."""
    values = next(found)
    if column.type == Declared.TYPE_MESSAGE:
        return [second + nanos // 1000 / 1_000_000 for second, nanos in zip(values, next(found), strict=True)]
    if column.field.kind is Kind.INSTANT and column.type != Declared.TYPE_STRING:
        return [each / MILLISECONDS for each in values]
    return values


def _value(column: Column, value: Any) -> Any:
    """A value as JSON has it."""
    if column.type == Declared.TYPE_MESSAGE:
        return instant(column.field.name, value.seconds * NANOSECONDS + value.nanos, NANOSECONDS)
    if column.field.kind is Kind.INSTANT and column.type != Declared.TYPE_STRING:
        return instant(column.field.name, value, MILLISECONDS)
    return value
