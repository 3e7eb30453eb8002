"""The OpenAPI document of the application, where FastAPI leaves it less than exact: problems, examples, null in a query."""

import json
from typing import Any, Final

from fastapi import FastAPI

from api.auth.access import document_access
from api.database.pools import SOURCE, STALENESS
from api.openapi.examples import EXAMPLES
from api.problems import documented
from schemas.responses.base import Problem

METHODS: Final = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}
JSON: Final = "application/json"
AT: Final = "2026-02-09T15:30:00Z"  # of examples: a document that is compared must not tell the time
RETRIED: Final = {"429", "503"}
REPLACED: Final = ("HTTPValidationError", "ValidationError")  # how FastAPI would describe what is a problem here


def complete(app: FastAPI) -> None:
    """Make the document say what the service does; `app.openapi()` and /openapi.json give this one from then on."""
    described = app.openapi()
    document_access(described)
    _define_problem(described.setdefault("components", {}).setdefault("schemas", {}))
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            if method in METHODS:
                _complete(operation)
        if path.startswith("/v1/") and "get" in operations:
            operations["get"]["responses"]["200"]["headers"] = {
                SOURCE: _header("string", "Where the answer was read: `replica` or `primary`"),
                STALENESS: _header("number", "By how much a replica's answer is older than the primary's at most"),
            }


def _define_problem(schemas: dict[str, Any]) -> None:
    """Routes refer to the schema of a problem; put it where they look for it."""
    schema = Problem.model_json_schema(by_alias=True, ref_template="#/components/schemas/{model}")
    schemas |= schema.pop("$defs", {})
    schemas["Problem"] = schema
    for replaced in REPLACED:
        schemas.pop(replaced, None)


def _complete(operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    if JSON in responses.get("422", {}).get("content", {}):
        responses["422"] = documented(422)[422]
    if operation["operationId"] not in ALWAYS_ANSWER:
        responses.setdefault("500", documented(500)[500])
    operation["responses"] = dict(sorted(responses.items()))
    for content in operation.get("requestBody", {}).get("content", {}).values():
        content["example"] = _at_a_fixed_time(content["example"])
    for parameter in operation.get("parameters", []):
        parameter["schema"] = _without_null(parameter["schema"])
    example = EXAMPLES.get(operation["operationId"])
    for code, response in responses.items():
        if code in RETRIED:
            response["headers"] = {"Retry-After": _header("integer", "Seconds to wait before it is sent again")}
        if code.startswith("2") and example is not None and JSON in response.get("content", {}):
            response["content"][JSON]["example"] = example


def _header(kind: str, description: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": kind}}


def _at_a_fixed_time(sent: Any) -> Any:
    """The same example, but the document is the same tomorrow: of one reading, of several, or of a reading a line."""
    if isinstance(sent, str):
        return "".join(json.dumps(_at_a_fixed_time(json.loads(line))) + "\n" for line in sent.splitlines())
    if isinstance(sent, list):
        return [_at_a_fixed_time(each) for each in sent]
    return sent | {"timestamp": AT}


ALWAYS_ANSWER: Final = {"live"}  # it has nothing that could fail


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter that is not given is left out: the text of a query has no null."""
    some: list[dict[str, Any]] = [each for each in schema.get("anyOf", []) if each != {"type": "null"}]
    if len(some) != 1:
        return schema
    rest = {name: value for name, value in schema.items() if name != "anyOf"}
    if rest.get("default", "") is None:
        del rest["default"]
    return some[0] | rest
