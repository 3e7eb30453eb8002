"""Avro schemas whose payloads could take memory, time or stack that their size does not explain.

fastavro reads as many items as a payload claims, also where an item has no bytes, and calls itself for each record within a
record until the stack of the process ends.
"""

from collections.abc import Mapping
from typing import Any, Final

from consumer.formats.errors import IncompatibleSchemaError

MOST_TYPES: Final = 10_000  # of one record, those of named types at each place where they are used


def ensure_bounded(definition: Any, named: Mapping[str, Any]) -> None:
    """Check a schema that fastavro has parsed, with its named types.

    Raises:
        IncompatibleSchemaError: a payload could hold unbounded content in a few bytes.
    """
    _Walk(named).visit(definition, frozenset(), repeated=False)


class _Walk:
    """Goes through the types of a schema, into named ones at each place where they are used."""

    def __init__(self, named: Mapping[str, Any]) -> None:
        self._named = named
        self._types = 0

    def visit(self, definition: Any, within: frozenset[str], *, repeated: bool) -> None:
        """`within` has the names of the records around the type; `repeated`: it is in an array or a map."""
        self._types += 1
        if self._types > MOST_TYPES:
            raise IncompatibleSchemaError(f"a record has more than {MOST_TYPES} types")
        if isinstance(definition, list):
            for each in definition:
                if each != "null":  # the number of the branch is a byte
                    self.visit(each, within, repeated=repeated)
            return
        if isinstance(definition, str):
            definition = self._named.get(definition, {"type": definition})
        kind = definition["type"]
        if isinstance(kind, dict | list):
            self.visit(kind, within, repeated=repeated)
        elif kind in {"array", "map"}:
            self.visit(definition.get("items", definition.get("values")), within, repeated=True)
        elif kind in {"record", "error"}:
            self._visit_record(definition, within, repeated=repeated)
        elif repeated and (kind == "null" or definition.get("size") == 0):
            raise IncompatibleSchemaError("an array or map has items without content")

    def _visit_record(self, definition: dict[str, Any], within: frozenset[str], *, repeated: bool) -> None:
        name = definition["name"]
        if name in within:
            raise IncompatibleSchemaError(f"the record {name} is within itself")
        if repeated and not definition["fields"]:
            raise IncompatibleSchemaError("an array or map has items without content")
        for each in definition["fields"]:
            self.visit(each["type"], within | {name}, repeated=repeated)
