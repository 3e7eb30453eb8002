"""Narrower or wider: the types, ranges, enumerations and formats of a single value in two versions of a schema."""

from collections.abc import Iterator
from typing import Any, Final

FLOORS: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems")
CEILINGS: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems")
Schema = dict[str, Any]


def types(schema: Schema) -> set[str]:
    """The JSON types that a schema allows: `number` includes `integer`, and no type at all means any."""
    declared = schema.get("type", "any")
    types = set(declared) if isinstance(declared, list) else {declared}
    return types | {"integer"} if "number" in types else types


def ranges(at: str, was: Schema, now: Schema, sent: bool) -> Iterator[str]:
    """Changes of ranges, formats and enumerations that break clients: a sent value may widen only, a received one narrow only."""
    sign = 1 if sent else -1
    for bounds, direction in ((FLOORS, 1), (CEILINGS, -1)):
        for bound in bounds:
            open_end = float("-inf") * direction
            before, after = (each.get(bound, open_end) for each in (was, now))
            if (after - before if after != before else 0) * direction * sign > 0:
                yield f"{at}: {bound} {was.get(bound, 'none')} became {now.get(bound, 'none')}"
    for rule in ("pattern", "format"):
        loosened = rule not in (now if sent else was)
        if was.get(rule) != now.get(rule) and not loosened:
            yield f"{at}: {rule} {was.get(rule)!r} became {now.get(rule)!r}"
    narrow, wide = map(_choices, (was, now) if sent else (now, was))
    if wide is not None and (narrow is None or not narrow <= wide):
        yield f"{at}: the choice {_description(was)} became {_description(now)}"


def _choices(schema: Schema) -> set[str] | None:
    """The values of an enumeration; None when any value is allowed."""
    choices = [schema["const"]] if "const" in schema else schema.get("enum")
    return None if choices is None else set(map(str, choices))


def _description(schema: Schema) -> str:
    return ", ".join(sorted(_choices(schema) or {"of anything"}))
