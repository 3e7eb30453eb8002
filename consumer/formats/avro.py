"""Payloads in Avro."""

import json
import os
from collections.abc import Sequence
from functools import partial
from io import BytesIO
from operator import itemgetter
from typing import Any, Final

from fastavro import parse_schema, schemaless_reader
from fastavro.types import Schema

from consumer.formats.avro_bounds import ensure_bounded
from consumer.formats.avro_layout import has_layout, layout_of
from consumer.formats.columns import ColumnReader, Columns, in_order, varint
from consumer.formats.errors import IncompatibleSchemaError
from consumer.formats.fields import (
    Field,
    Kind,
    columns_type,
    fields_of,
    instant,
    invalid,
    require,
    valid_rows,
)
from consumer.formats.fields import to_json as fields_to_json
from consumer.formats.registry import RegisteredSchema
from consumer.records.record_type import RecordType, Row
from schemas.records.readings import Reason

NUMBERS: Final = ("double", "float", "int", "long")
UNITS: Final = {"timestamp-millis": 1000, "timestamp-micros": 1_000_000, "timestamp-nanos": 1_000_000_000, None: 1000}
ALLOWED: Final = {
    Kind.TEXT: "a string",
    Kind.NUMBER: "a double, float, int or long",
    Kind.INSTANT: "a string, or a long of timestamp-millis, -micros or -nanos",
}
MARK: Final = "end_of_record"  # of an array's records; no schema of theirs has the field, or the array is not valid


class AvroReader:
    """Reads the payloads of one writer's schema."""

    def __init__(self, schema: RegisteredSchema, record_type: RecordType) -> None:
        """Raises IncompatibleSchemaError for a schema that cannot be used."""
        definition, named = _parse(schema)
        if not isinstance(definition, dict) or definition.get("type") != "record":
            raise IncompatibleSchemaError("it is not a record")
        written = {each["name"]: each["type"] for each in definition["fields"]}
        fields = fields_of(record_type)
        _check(fields, written)
        self._fields = [each for each in fields if each.name in written]
        self._units = {
            each.name: _unit(written[each.name]) for each in self._fields if each.kind is Kind.INSTANT
        }  # None: a text
        self._values = itemgetter(*(each.name for each in self._fields))
        plain = _without_logical_types(definition)
        self._schema: Schema = parse_schema(plain, named_schemas=dict(named))
        self._mark = os.urandom(8)
        marked = {"name": MARK, "type": {"type": "fixed", "name": MARK, "size": len(self._mark)}}
        array = {"type": "array", "items": plain | {"fields": [*plain["fields"], marked]}}
        self._array: Schema = parse_schema(array, named_schemas=dict(named))
        names = [each.name for each in self._fields]
        self._columns = ColumnReader(partial(layout_of, plain, frozenset(names)), names) if has_layout(plain) else None
        self._types = (
            columns_type(record_type) if len(self._fields) == len(fields) and record_type.decode_lines else None
        )

    def rows(self, values: Sequence[bytes], start: int) -> list[Row] | None:
        """See `Reader`."""
        if self._types is None:
            return None
        groups = self._columns.read(values, start) if self._columns else None
        if groups is None:
            records = self._records([each[start:] for each in values])
            return None if records is None else self._valid_rows(list(zip(*map(self._values, records), strict=True)))
        rows = {length: self._valid_rows(columns) for length, columns in groups.items()}
        return in_order(values, rows) if len(rows) > 1 else rows.popitem()[1]

    def _valid_rows(self, columns: Columns) -> list[Row]:
        return valid_rows(list(map(self._column, self._fields, columns)), self._types)

    def _records(self, payloads: Sequence[bytes]) -> list[dict[str, Any]] | None:
        """All payloads, read as one array whose records end with a mark that no producer can know; None unless each does.

        Where each record ends with the mark, each payload was exactly one record.
        """
        block = b"".join((varint(2 * len(payloads)), self._mark.join(payloads), self._mark, b"\0"))
        source = BytesIO(block)
        records: Any = schemaless_reader(source, self._array, None)
        marked = source.tell() == len(block) and [each[MARK] for each in records] == [self._mark] * len(payloads)
        return records if marked else None

    def as_json(self, payload: bytes) -> bytes:
        """See `Reader`."""
        source = BytesIO(payload)
        try:
            found: Any = schemaless_reader(source, self._schema, None)
        except Exception as error:  # noqa: BLE001 - of many types, for bytes that are no record
            raise invalid(Reason.INVALID_ENCODING, f"not of its Avro schema: {_text(error)}") from None
        if source.tell() != len(payload):
            detail = f"{len(payload) - source.tell()} bytes follow the end of the record"
            raise invalid(Reason.INVALID_ENCODING, f"not of its Avro schema: {detail}")
        return fields_to_json({each.name: self._value(each, found[each.name]) for each in self._fields})

    def _column(self, field: Field, column: Sequence[Any]) -> Sequence[Any]:
        """A column as `validated` takes it."""
        unit = self._units.get(field.name)
        if unit is None:
            return column
        if unit == UNITS["timestamp-nanos"]:
            return [each // 1000 / 1_000_000 for each in column]
        return [each / unit for each in column]

    def _value(self, field: Field, value: Any) -> Any:
        unit = self._units.get(field.name)
        return value if unit is None or value is None else instant(field.name, value, unit)


def _parse(schema: RegisteredSchema) -> tuple[Any, dict[str, Any]]:
    """The definition of a schema, and the named types that it refers to.

    Raises:
        IncompatibleSchemaError: it is not valid, or not bounded.
    """
    named: dict[str, Any] = {}
    try:
        for text in schema.references:
            parse_schema(_without_logical_types(json.loads(text)), named_schemas=named)
        definition, known = json.loads(schema.text), dict(named)
        parsed = parse_schema(_without_logical_types(definition), named_schemas=known)
    except Exception as error:  # noqa: BLE001 - of many types, for texts that are no schema
        raise IncompatibleSchemaError(f"it is not valid Avro: {_text(error)}") from None
    ensure_bounded(parsed, known)
    return definition, named


def _check(fields: Sequence[Field], written: dict[str, Any]) -> None:
    missing = [each.name for each in fields if each.required and each.name not in written]
    wrong = [
        f"{each.name} is {json.dumps(written[each.name])} and must be {ALLOWED[each.kind]}"
        for each in fields
        if each.name in written and not _allowed(each.kind, written[each.name])
    ]
    require(missing, wrong)


def _allowed(kind: Kind, definition: Any) -> bool:
    """Whether all alternatives of a type can be read as a kind; null is told from the record."""
    names = [_name(each) for each in _alternatives(definition)]
    if kind is Kind.TEXT:
        return names == ["string"]
    if kind is Kind.NUMBER:
        return (
            bool(names) and all(name in NUMBERS for name in names) and not any(map(_logical, _alternatives(definition)))
        )
    return len(names) == 1 and (
        names == ["string"] or (names == ["long"] and _logical(_alternatives(definition)[0]) in UNITS)
    )


def _alternatives(definition: Any) -> list[Any]:
    return [each for each in (definition if isinstance(definition, list) else [definition]) if _name(each) != "null"]


def _name(definition: Any) -> Any:
    return definition.get("type") if isinstance(definition, dict) else definition


def _logical(definition: Any) -> Any:
    return definition.get("logicalType") if isinstance(definition, dict) else None


def _unit(definition: Any) -> int | None:
    """Units in a second of an instant; None for a text."""
    (only,) = _alternatives(definition)
    return None if _name(only) == "string" else UNITS[_logical(only)]


def _without_logical_types(definition: Any) -> Any:
    """A schema whose numbers are read as they were written: no value of a field that is not needed can be out of range."""
    if isinstance(definition, dict):
        return {name: _without_logical_types(each) for name, each in definition.items() if name != "logicalType"}
    return list(map(_without_logical_types, definition)) if isinstance(definition, list) else definition


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__
