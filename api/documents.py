"""The OpenAPI document, finished: routes refer to the schema of a problem, and it is put where they look for it."""

from fastapi import FastAPI

from schemas.answers import Problem


def document_problems(app: FastAPI) -> None:
    """Add the schema of a problem, and describe FastAPI's own 422 as what it is here."""
    described = app.openapi()
    schema = Problem.model_json_schema(by_alias=True, ref_template="#/components/schemas/{model}")
    schemas = described.setdefault("components", {}).setdefault("schemas", {})
    schemas |= schema.pop("$defs", {})
    schemas["Problem"] = schema
    for path in described["paths"].values():
        for operation in path.values():
            if "application/json" in operation["responses"].get("422", {}).get("content", {}):
                content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
                operation["responses"]["422"] = {"description": "The request is not valid", "content": content}
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
