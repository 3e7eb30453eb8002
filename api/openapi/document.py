"""Corrections to the OpenAPI document that FastAPI generates: problems, access, headers, examples, nullable parameters."""

import json
from typing import Any, Final

from fastapi import FastAPI

from api.auth.access import required_scope
from api.middleware.data_source import SOURCE, STALENESS
from api.openapi.examples import EXAMPLES
from api.problems import problem_responses
from schemas.responses.base import Problem

METHODS: Final = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}
JSON: Final = "application/json"
EXAMPLE_TIME: Final = "2026-02-09T15:30:00Z"  # fixed: the committed document is compared with a generated one
RETRYABLE: Final = {"429", "503"}
REPLACED: Final = ("HTTPValidationError", "ValidationError")  # FastAPI's schemas of errors, which are problems here
NEVER_FAIL: Final = {"live"}
SECURITY_SCHEMES: Final = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "an API key, created with `python -m api keys create`; not needed with API_OPEN=true",
    },
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "the same key"},
}


def finish_openapi(app: FastAPI) -> None:
    """Corrects the document in place. FastAPI caches it, so `app.openapi()` and /openapi.json return the corrected one."""
    document = app.openapi()
    components = document.setdefault("components", {})
    components["securitySchemes"] = SECURITY_SCHEMES
    _replace_error_schemas(components.setdefault("schemas", {}))
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if method in METHODS:
                _describe_access(path, operation)
                _finish(operation)
        if path.startswith("/v1/") and "get" in operations:
            operations["get"]["responses"]["200"]["headers"] = {
                SOURCE: _header(
                    "string",
                    "What was read: `replica` or `primary`, followed by `, archive` where archived months were read too",
                ),
                STALENESS: _header("number", "Upper bound, in seconds, of the replica's lag behind the primary"),
            }


def _replace_error_schemas(schemas: dict[str, Any]) -> None:
    schema = Problem.model_json_schema(by_alias=True, ref_template="#/components/schemas/{model}")
    schemas |= schema.pop("$defs", {})
    schemas["Problem"] = schema
    for replaced in REPLACED:
        schemas.pop(replaced, None)


def _describe_access(path: str, operation: dict[str, Any]) -> None:
    if required := required_scope(path):
        operation["security"] = [{"bearer": [required.value]}, {"apiKey": [required.value]}]
        for code, response in problem_responses(401, 403).items():
            operation["responses"].setdefault(str(code), response)


def _finish(operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    if JSON in responses.get("422", {}).get("content", {}):
        responses["422"] = problem_responses(422)[422]
    if operation["operationId"] not in NEVER_FAIL:
        responses.setdefault("500", problem_responses(500)[500])
    operation["responses"] = dict(sorted(responses.items()))
    for content in operation.get("requestBody", {}).get("content", {}).values():
        content["example"] = _at_example_time(content["example"])
    for parameter in operation.get("parameters", []):
        parameter["schema"] = _without_null(parameter["schema"])
    example = EXAMPLES.get(operation["operationId"])
    for code, response in responses.items():
        if code in RETRYABLE:
            response["headers"] = {"Retry-After": _header("integer", "Seconds to wait before the next attempt")}
        if code.startswith("2") and example is not None and JSON in response.get("content", {}):
            response["content"][JSON]["example"] = example


def _header(kind: str, description: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": kind}}


def _at_example_time(body: Any) -> Any:
    """Replaces the timestamp in an example body: one reading, a list of readings, or NDJSON."""
    if isinstance(body, str):
        return "".join(json.dumps(_at_example_time(json.loads(line))) + "\n" for line in body.splitlines())
    if isinstance(body, list):
        return [_at_example_time(each) for each in body]
    return body | {"timestamp": EXAMPLE_TIME}


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Removes null from the type of an optional parameter: a query string cannot express it."""
    some: list[dict[str, Any]] = [each for each in schema.get("anyOf", []) if each != {"type": "null"}]
    if len(some) != 1:
        return schema
    rest = {name: value for name, value in schema.items() if name != "anyOf"}
    if rest.get("default", "") is None:
        del rest["default"]
    return some[0] | rest
