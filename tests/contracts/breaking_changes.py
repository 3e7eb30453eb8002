"""Breaking changes between two versions of an OpenAPI or AsyncAPI document.

What clients send (`sent`) may become less restricted, never more. What clients receive may gain fields, never lose any.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from tests.contracts.narrowing import ranges, types

METHODS: Final = ("get", "put", "post", "delete", "patch", "head", "options")
Schema = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Comparison:
    """An earlier and a newer version of a document."""

    earlier: Schema
    newer: Schema

    def api(self) -> Iterator[str]:
        """Changes of an OpenAPI document that break its clients."""
        for path, method, was in _operations(self.earlier):
            name = f"{method.upper()} {path}"
            now = self.newer["paths"].get(path, {}).get(method)
            if now is None:
                yield f"{name}: removed"
                continue
            yield from self._keys(name, was, now)
            yield from self._parameters(name, was, now)
            yield from self._bodies(name, was, now)
            yield from self._responses(name, was, now)

    def topics(self) -> Iterator[str]:
        """Changes of an AsyncAPI document that break producers or consumers of its topics."""
        for name, was in self.earlier["operations"].items():
            now = self.newer["operations"].get(name)
            if now is None:
                yield f"{name}: removed"
                continue
            if was["action"] != now["action"]:
                yield f"{name}: the action {was['action']} became {now['action']}"
            message, channel = name.removeprefix(was["action"]), was["channel"]["$ref"].rsplit("/", 1)[1]
            addresses = [each["channels"].get(channel, {}).get("address") for each in (self.earlier, self.newer)]
            if addresses[0] != addresses[1]:
                yield f"{name}: the topic {addresses[0]} became {addresses[1]}"
            pair = [each["components"]["messages"][message] for each in (self.earlier, self.newer)]
            media = [
                one.get("contentType", document.get("defaultContentType"))
                for one, document in zip(pair, (self.earlier, self.newer), strict=True)
            ]
            if media[0] != media[1]:
                yield f"{name}: the content type {media[0]} became {media[1]}"
            yield from self.schema(name, *(each["payload"] for each in pair), sent=was["action"] == "receive")

    def schema(self, at: str, was: Schema, now: Schema, *, sent: bool) -> Iterator[str]:
        """Breaking changes between two schemas: of values that clients send, or of values that they receive."""
        was, now = _resolved(self.earlier, was), _resolved(self.newer, now)
        if "anyOf" in was or "anyOf" in now:
            yield from self._alternatives(at, was, now, sent)
            return
        narrow, wide = (was, now) if sent else (now, was)
        if not types(narrow) <= types(wide) and "any" not in types(wide):
            yield f"{at}: {sorted(types(was))} became {sorted(types(now))}"
        yield from ranges(at, was, now, sent)
        yield from self._members(at, was, now, sent)
        if "items" in was and "items" in now:
            yield from self.schema(f"{at}[]", was["items"], now["items"], sent=sent)

    def _alternatives(self, at: str, was: Schema, now: Schema, sent: bool) -> Iterator[str]:
        """Every alternative that the sender may use must exist for the receiver."""
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
        if sent and now.get("additionalProperties") is False and was.get("additionalProperties") is not False:
            yield f"{at}: fields that are not named are no longer taken"
        if sent:
            yield from (f"{at}.{name}: now required" for name in sorted(required - before))
        else:
            yield from (f"{at}.{name}: no longer always given" for name in sorted((before - required) & set(newer)))

    def _keys(self, name: str, was: Schema, now: Schema) -> Iterator[str]:
        """A key that was sufficient for a route must stay so, and a route that needed no key must need none."""
        earlier, newer = (
            each.get("security", document.get("security")) or [{}]
            for each, document in ((was, self.earlier), (now, self.newer))
        )
        for key in earlier:
            if not any(_opens(key, wanted) for wanted in newer):
                yield f"{name}: no longer open to {_description_of(key)}"

    def _parameters(self, name: str, was: Schema, now: Schema) -> Iterator[str]:
        earlier, newer = ({(p["in"], p["name"]): p for p in each.get("parameters", [])} for each in (was, now))
        for key, parameter in newer.items():
            before = earlier.get(key, {})
            if parameter.get("required") and not before.get("required"):
                yield f"{name} {key[1]}: now required"
        for key, parameter in earlier.items():
            if key not in newer:
                yield f"{name} {key[1]}: removed"
                continue
            before, after = (each["schema"] for each in (parameter, newer[key]))
            yield from self.schema(f"{name} {key[1]}", before, after, sent=True)
            if before.get("default") != after.get("default"):
                yield f"{name} {key[1]}: the default {before.get('default')} became {after.get('default')}"

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
            if answer is None:
                continue
            yield from self._headers(f"{name} {code}", response.get("headers", {}), answer.get("headers", {}))
            for media, content in response.get("content", {}).items():
                given = answer.get("content", {}).get(media)
                if given is None:
                    yield f"{name} {code}: no longer gives {media}"
                elif "schema" in content and "schema" in given:
                    yield from self.schema(f"{name} {code}", content["schema"], given["schema"], sent=False)

    def _headers(self, name: str, was: Schema, now: Schema) -> Iterator[str]:
        for header, described in was.items():
            if header not in now:
                yield f"{name}: no longer gives the header {header}"
            else:
                pair = (each.get("schema", {}) for each in (described, now[header]))
                yield from self.schema(f"{name} {header}", *pair, sent=False)


def _opens(key: dict[str, list[str]], wanted: dict[str, list[str]]) -> bool:
    return all(scheme in key and set(scopes) <= set(key[scheme]) for scheme, scopes in wanted.items())


def _description_of(key: dict[str, list[str]]) -> str:
    return (
        " and ".join(f"{scheme} with {', '.join(scopes) or 'any scope'}" for scheme, scopes in key.items())
        or "everybody"
    )


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
