"""Payloads in JSON that have a JSON Schema."""

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

import msgspec

from consumer.formats.errors import IncompatibleSchemaError
from consumer.formats.fields import fields_of, require
from consumer.formats.registry import RegisteredSchema
from consumer.records.record_type import RecordType, Row


class JsonSchemaReader:
    """Reads the payloads of one schema. They are validated as all JSON is, not against the schema, which producers do.

    Args:
        decode_lines: decodes many values of JSON.
    """

    def __init__(
        self,
        schema: RegisteredSchema,
        record_type: RecordType,
        decode_lines: Callable[[list[bytes]], list[Row] | None],
    ) -> None:
        """Raises IncompatibleSchemaError for a schema that allows no record to have a needed field."""
        try:
            definition: Any = msgspec.json.decode(schema.text)
        except msgspec.DecodeError as error:
            raise IncompatibleSchemaError(f"it is not valid JSON: {error}") from None
        self._decode_lines = decode_lines
        if isinstance(definition, dict) and definition.get("additionalProperties") is False:
            properties = definition.get("properties") or {}
            require([each.name for each in fields_of(record_type) if each.required and each.name not in properties], [])

    def rows(self, values: Sequence[bytes], start: int) -> list[Row] | None:
        """See `Reader`."""
        return self._decode_lines(list(map(itemgetter(slice(start, None)), values)))

    def as_json(self, payload: bytes) -> bytes:
        """See `Reader`."""
        return payload
