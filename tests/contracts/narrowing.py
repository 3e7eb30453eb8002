"""What a single value may be, before and now: types, ranges, choices, forms."""

from collections.abc import Iterator
from typing import Any, Final

FLOORS: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems")
CEILINGS: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems")
Schema = dict[str, Any]


def types(schema: Schema) -> set[str]:
    """A number may be an integer as well; what is not said may be anything."""
    said = schema.get("type", "any")
    types = set(said) if isinstance(said, list) else {said}
    return types | {"integer"} if "number" in types else types


def ranges(at: str, was: Schema, now: Schema, sent: bool) -> Iterator[str]:
    """Ranges of what is sent may only grow, those of what is given only shrink; the same for what may be chosen from."""
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
        yield f"{at}: the choice {_said(was)} became {_said(now)}"


def _choices(schema: Schema) -> set[str] | None:
    """What may be chosen from; None for anything."""
    given = [schema["const"]] if "const" in schema else schema.get("enum")
    return None if given is None else set(map(str, given))


def _said(schema: Schema) -> str:
    return ", ".join(sorted(_choices(schema) or {"of anything"}))
