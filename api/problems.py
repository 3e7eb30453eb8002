"""Errors as RFC 9457 problem details: one encoder, and the exception handlers that use it."""

from collections.abc import Mapping
from typing import Any, Final

import asyncpg
import msgspec
import structlog
from fastapi import FastAPI, Request, Response, status
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from schemas.records.readings import InvalidReading, Reason
from schemas.responses.base import FieldProblem, Problem
from sql.connection import CONNECTION_ERRORS

log = structlog.get_logger(__name__)

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_SECONDS: Final = "2"
# Errors of a database that does not respond, cannot be reached or cannot be used at present.
DATABASE_UNAVAILABLE: Final = (
    *CONNECTION_ERRORS, asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError, asyncpg.InvalidAuthorizationSpecificationError,
)  # fmt: skip
RETRIED: Final = {status.HTTP_429_TOO_MANY_REQUESTS, status.HTTP_503_SERVICE_UNAVAILABLE}
# Answered with 400: the body cannot be parsed. Every other reason is about a field of a parsed object, and answered with 422.
UNREADABLE: Final = {Reason.EMPTY_VALUE, Reason.INVALID_JSON, Reason.NOT_AN_OBJECT}
TITLES: Final = {
    400: "Malformed request",
    401: "API key missing or not valid",
    403: "Not permitted for this API key",
    404: "Not found",
    405: "Method not allowed",
    408: "Request timeout",
    410: "No longer stored",
    413: "Body too large",
    414: "URL too long",
    415: "Unsupported media type",
    422: "Invalid request",
    429: "Too many requests",
    431: "Headers too large",
    500: "Internal error",
    503: "Temporarily unavailable",
}


class Overloaded(Exception):  # noqa: N818 - a temporary state, not a failure
    """A bound is reached and nothing was started. The client may retry in a moment."""


class Gone(Exception):  # noqa: N818 - a state of the data, not a failure
    """The period asked for was dropped from the database and cannot be read from an archive; the message says which months."""


class Unavailable(Exception):  # noqa: N818 - a temporary state rather than an error
    """A dependency is unavailable; the message says which. The client may retry."""


def problem_body(
    code: int,
    detail: str,
    errors: list[FieldProblem] | None = None,
    extensions: Mapping[str, Any] | None = None,
) -> bytes:
    """The JSON of a problem; `extensions` are further members, which must be encodable by msgspec."""
    problem = Problem(title=TITLES.get(code, "Request failed"), status=code, detail=detail, errors=errors)
    return msgspec.json.encode(problem.model_dump(by_alias=True, exclude_none=True) | dict(extensions or {}))


def problem_response(code: int, detail: str, errors: list[FieldProblem] | None = None) -> Response:
    headers = {"Retry-After": RETRY_AFTER_SECONDS} if code in RETRIED else None
    return Response(problem_body(code, detail, errors), status_code=code, headers=headers, media_type=MEDIA_TYPE)


def problem_responses(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The error responses of a route, for its OpenAPI description."""
    schema = {"schema": {"$ref": "#/components/schemas/Problem"}}
    return {code: {"description": TITLES[code], "content": {MEDIA_TYPE: schema}} for code in codes}


def field_problems(error: InvalidReading) -> list[FieldProblem]:
    return [FieldProblem(field=each.field, reason=each.reason.value, detail=each.detail) for each in error.errors]


def invalid_parameter(parameter: str, detail: str) -> RequestValidationError:
    """The 422 of a query parameter that passes FastAPI's validation and fails the route's."""
    return RequestValidationError([{"type": "value_error", "loc": ("query", parameter), "msg": detail}])


def handle_problems(app: FastAPI) -> None:
    """Registers the handlers that answer every exception of `app` with a problem."""
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(Unavailable, _unavailable)
    app.add_exception_handler(Overloaded, _overloaded)
    app.add_exception_handler(Gone, _gone)
    for error in DATABASE_UNAVAILABLE:
        app.add_exception_handler(error, _database_unavailable)
    app.add_exception_handler(Exception, unexpected_error)


async def _http_error(request: Request, error: Any) -> Response:
    detail = error.detail if error.detail != "Not Found" else f"there is no route {request.url.path}; see /docs"
    response = problem_response(error.status_code, detail)
    response.headers.update(error.headers or {})
    return response


async def _validation_error(_: Request, error: Any) -> Response:
    errors = [
        FieldProblem(
            field=".".join(map(str, each["loc"][1:])),
            reason=each["type"],
            detail=each["msg"].removeprefix("Value error, "),
        )
        for each in error.errors()
    ]
    return problem_response(422, "; ".join(f"{each.field}: {each.detail}" for each in errors), errors)


async def _unavailable(_: Request, error: Any) -> Response:
    return problem_response(503, str(error))


async def _gone(_: Request, error: Any) -> Response:
    return problem_response(410, str(error))


async def _overloaded(_: Request, error: Any) -> Response:
    return problem_response(429, str(error))


async def _database_unavailable(_: Request, error: Any) -> Response:
    log.warning("database_unavailable", error=repr(error))
    return problem_response(503, "the database did not respond in time; try again")


async def unexpected_error(request: Request, error: Any) -> Response:
    """Logs an exception with its traceback and answers 500 without any of it."""
    log.error("request_failed", method=request.method, exc_info=error)
    return problem_response(500, "the error was logged; try again, and contact the operators if it persists")
