"""Where the fields of an Avro payload are (columns.py)."""

from collections.abc import Collection
from typing import Any, Final

from consumer.formats.columns import Layout, NoLayoutError, number_at

SIZES: Final = {"double": 8, "float": 4, "boolean": 1, "null": 0}
CODES: Final = {"double": "d", "float": "f"}
NUMBERS: Final = ("int", "long", "enum")
TEXTS: Final = ("string", "bytes")


def has_layout(definition: Any) -> bool:
    """Whether a type is made of others that have a place: not of arrays, maps, and types that are defined elsewhere."""
    if isinstance(definition, list):
        return all(map(has_layout, definition))
    kind = _kind(definition)
    if kind == "record":
        return all(has_layout(each["type"]) for each in definition["fields"])
    if isinstance(kind, dict | list):
        return has_layout(kind)
    return kind in {*SIZES, *NUMBERS, *TEXTS, "fixed"}


def layout_of(definition: dict[str, Any], needed: Collection[str], payload: bytes) -> Layout:
    """The layout of a payload of a record that has one; `needed` are names of its fields.

    Raises:
        NoLayoutError: the payload is not of the schema, or a needed field is null.
    """
    layout, end = Layout(), 0
    for each in definition["fields"]:
        end = _add(layout, each["type"], each["name"] if each["name"] in needed else None, payload, end)
    if end != len(payload):
        raise NoLayoutError
    return layout


def _kind(definition: Any) -> Any:
    return definition["type"] if isinstance(definition, dict) else definition


def _add(layout: Layout, definition: Any, name: str | None, payload: bytes, start: int) -> int:
    """Add a field as it is in a payload; returns where it ends. `name` is None where it is not needed."""
    if isinstance(definition, list):
        return _add_union(layout, definition, name, payload, start)
    kind = _kind(definition)
    if isinstance(kind, dict | list):
        return _add(layout, kind, name, payload, start)
    if kind == "record":
        for each in definition["fields"]:
            start = _add(layout, each["type"], None, payload, start)
        return start
    if kind in NUMBERS:
        _, end = number_at(payload, start)
        layout.add_number(name, end - start)
        return end
    if kind in TEXTS:
        return _add_text(layout, name, payload, start)
    if name is not None and kind == "null":
        raise NoLayoutError
    size = definition["size"] if kind == "fixed" else SIZES[kind]
    layout.add(name, CODES.get(kind, ""), size)
    return start + size


def _add_union(layout: Layout, definition: list[Any], name: str | None, payload: bytes, start: int) -> int:
    branch, end = number_at(payload, start)
    if branch % 2 or branch // 2 >= len(definition):  # negative, or beyond the last
        raise NoLayoutError
    layout.expect(payload[start:end])
    return _add(layout, definition[branch // 2], name, payload, end)


def _add_text(layout: Layout, name: str | None, payload: bytes, start: int) -> int:
    length, begin = number_at(payload, start)
    if length % 2:  # negative
        raise NoLayoutError
    layout.expect(payload[start:begin])
    if name is None:
        layout.skip(length // 2)
    else:
        layout.add_text(name, length // 2)
    return begin + length // 2
