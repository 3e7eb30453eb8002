"""An earlier document and a newer one -> what breaks those who rely on the earlier.

What others send may be given more freely and never less; what they are given may gain and never lose.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

METHODS: Final = ("get", "put", "post", "delete", "patch", "head", "options")
FLOORS: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems")
CEILINGS: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems")
Schema = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Documents:
    """The two, each with what its references stand for."""

    earlier: Schema
    newer: Schema

    def api(self) -> Iterator[str]:
        """What breaks callers of an OpenAPI document."""
        for path, method, was in _operations(self.earlier):
            name = f"{method.upper()} {path}"
            now = self.newer["paths"].get(path, {}).get(method)
            if now is None:
                yield f"{name}: removed"
                continue
            yield from self._parameters(name, was, now)
            yield from self._bodies(name, was, now)
            yield from self._responses(name, was, now)

    def topics(self) -> Iterator[str]:
        """What breaks those who send to or read from the topics of an AsyncAPI document."""
        for name, was in self.earlier["operations"].items():
            now = self.newer["operations"].get(name)
            if now is None:
                yield f"{name}: removed"
                continue
            message, channel = name.removeprefix(was["action"]), was["channel"]["$ref"].rsplit("/", 1)[1]
            addresses = [each["channels"].get(channel, {}).get("address") for each in (self.earlier, self.newer)]
            if addresses[0] != addresses[1]:
                yield f"{name}: the topic {addresses[0]} became {addresses[1]}"
            pair = [each["components"]["messages"][message]["payload"] for each in (self.earlier, self.newer)]
            yield from self.schema(name, *pair, sent=was["action"] == "receive")

    def schema(self, at: str, was: Schema, now: Schema, *, sent: bool) -> Iterator[str]:
        """What breaks between two schemas: of what others send to us, or of what we give to them."""
        was, now = _resolved(self.earlier, was), _resolved(self.newer, now)
        if "anyOf" in was or "anyOf" in now:
            yield from self._alternatives(at, was, now, sent)
            return
        narrow, wide = (was, now) if sent else (now, was)
        if not _types(narrow) <= _types(wide) and "any" not in _types(wide):
            yield f"{at}: {sorted(_types(was))} became {sorted(_types(now))}"
        yield from _ranges(at, was, now, sent)
        yield from self._members(at, was, now, sent)
        if "items" in was and "items" in now:
            yield from self.schema(f"{at}[]", was["items"], now["items"], sent=sent)

    def _alternatives(self, at: str, was: Schema, now: Schema, sent: bool) -> Iterator[str]:
        """Each alternative that one side may use must be known to the other."""
        earlier, newer = was.get("anyOf", [was]), now.get("anyOf", [now])
        for index, old in enumerate(earlier if sent else newer):
            pairs = [(old, each) if sent else (each, old) for each in (newer if sent else earlier)]
            found = [list(self.schema(at, *pair, sent=sent)) for pair in pairs]
            if all(found):
                yield f"{at}: alternative {index} has no counterpart ({min(found, key=len)[0]})"

    def _members(self, at: str, was: Schema, now: Schema, sent: bool) -> Iterator[str]:
        earlier, newer = was.get("properties", {}), now.get("properties", {})
        for name, schema in earlier.items():
            if name not in newer:
                yield f"{at}.{name}: removed"
            else:
                yield from self.schema(f"{at}.{name}", schema, newer[name], sent=sent)
        required, before = set(now.get("required", [])), set(was.get("required", []))
        if sent:
            yield from (f"{at}.{name}: now required" for name in sorted(required - before))
        else:
            yield from (f"{at}.{name}: no longer always given" for name in sorted((before - required) & set(newer)))

    def _parameters(self, name: str, was: Schema, now: Schema) -> Iterator[str]:
        earlier, newer = ({(p["in"], p["name"]): p for p in each.get("parameters", [])} for each in (was, now))
        for key, parameter in newer.items():
            before = earlier.get(key, {})
            if parameter.get("required") and not before.get("required"):
                yield f"{name} {key[1]}: now required"
        for key, parameter in earlier.items():
            if key not in newer:
                yield f"{name} {key[1]}: removed"
            else:
                yield from self.schema(f"{name} {key[1]}", parameter["schema"], newer[key]["schema"], sent=True)

    def _bodies(self, name: str, was: Schema, now: Schema) -> Iterator[str]:
        earlier, newer = (each.get("requestBody", {}) for each in (was, now))
        if newer.get("required") and not earlier.get("required"):
            yield f"{name}: a body is now required"
        for media, content in earlier.get("content", {}).items():
            if media not in newer.get("content", {}):
                yield f"{name}: no longer takes {media}"
            elif "schema" in content:
                yield from self.schema(f"{name} body", content["schema"], newer["content"][media]["schema"], sent=True)

    def _responses(self, name: str, was: Schema, now: Schema) -> Iterator[str]:
        for code, response in was["responses"].items():
            answer = now["responses"].get(code)
            if answer is None and code.startswith("2"):
                yield f"{name}: no longer answers {code}"
            for media, content in response.get("content", {}).items() if answer else ():
                given = answer.get("content", {}).get(media)
                if given is None:
                    yield f"{name} {code}: no longer gives {media}"
                elif "schema" in content and "schema" in given:
                    yield from self.schema(f"{name} {code}", content["schema"], given["schema"], sent=False)


def _operations(document: Schema) -> Iterator[tuple[str, str, Schema]]:
    for path, operations in document["paths"].items():
        yield from ((path, method, operations[method]) for method in METHODS if method in operations)


def _resolved(document: Schema, schema: Schema) -> Schema:
    while "$ref" in schema:
        found: Any = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        schema = found
    return schema


def _types(schema: Schema) -> set[str]:
    """A number may be an integer as well; what is not said may be anything."""
    said = schema.get("type", "any")
    types = set(said) if isinstance(said, list) else {said}
    return types | {"integer"} if "number" in types else types


def _ranges(at: str, was: Schema, now: Schema, sent: bool) -> Iterator[str]:
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
