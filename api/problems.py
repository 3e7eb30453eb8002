"""Errors as RFC 9457 problem details: what is wrong, and what to do about it."""

from typing import Any, Final

import asyncpg
import structlog
from fastapi import FastAPI, Request, Response, status
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from schemas.records.readings import InvalidReading, Reason
from schemas.responses.base import FieldProblem, Problem
from sql.connection import CONNECTION_ERRORS

log = structlog.get_logger(__name__)

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_SECONDS: Final = "2"
# The body itself cannot be read; with any other reason it is an object whose fields are wrong.
UNREADABLE: Final = {Reason.EMPTY_VALUE, Reason.INVALID_JSON, Reason.NOT_AN_OBJECT}
TITLES: Final = {
    400: "The request cannot be read",
    401: "A valid API key is needed",
    403: "The API key does not allow this",
    404: "Not found",
    405: "Method not allowed",
    408: "The request took too long",
    413: "The body is too large",
    414: "The address is too long",
    415: "The body is of another kind",
    422: "The request is not valid",
    429: "Too much at once",
    431: "The headers are too large",
    500: "Something went wrong here",
    503: "Temporarily unavailable",
}


class Unavailable(Exception):  # noqa: N818 - a state, and not for ever
    """Something we depend on is away; the detail says what. The client may try again."""


def problem(code: int, detail: str, errors: list[FieldProblem] | None = None) -> Response:
    """The response that says so."""
    headers = {"Retry-After": RETRY_AFTER_SECONDS} if code == status.HTTP_503_SERVICE_UNAVAILABLE else None
    return Response(problem_body(code, detail, errors), status_code=code, headers=headers, media_type=MEDIA_TYPE)


def problem_body(code: int, detail: str, errors: list[FieldProblem] | None = None) -> bytes:
    """The JSON of a problem."""
    body = Problem(title=TITLES.get(code, "The request failed"), status=code, detail=detail, errors=errors)
    return body.model_dump_json(by_alias=True, exclude_none=True).encode()


def field_problems(error: InvalidReading) -> list[FieldProblem]:
    """What is wrong with a reading, field by field."""
    return [FieldProblem(field=each.field, reason=each.reason.value, detail=each.detail) for each in error.errors]


def documented(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The problems of a route, for OpenAPI."""
    schema = {"schema": {"$ref": "#/components/schemas/Problem"}}
    return {code: {"description": TITLES[code], "content": {MEDIA_TYPE: schema}} for code in codes}


def handle_problems(app: FastAPI) -> None:
    """Turn every error of `app` into a problem."""
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(InvalidReading, _invalid_reading)
    app.add_exception_handler(Unavailable, _unavailable)
    app.add_exception_handler(ClientDisconnect, _gone)
    for gone in (*CONNECTION_ERRORS, asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError,
                 asyncpg.InsufficientResourcesError, asyncpg.InvalidAuthorizationSpecificationError):  # fmt: skip
        app.add_exception_handler(gone, _database_away)
    app.add_exception_handler(Exception, unexpected)


async def _http(request: Request, error: Any) -> Response:
    detail = error.detail if error.detail != "Not Found" else f"there is nothing at {request.url.path}; see /docs"
    answer = problem(error.status_code, detail)
    answer.headers.update(error.headers or {})
    return answer


async def _invalid_request(_: Request, error: Any) -> Response:
    errors = [
        FieldProblem(
            field=".".join(map(str, each["loc"][1:])),
            reason=each["type"],
            detail=each["msg"].removeprefix("Value error, "),
        )
        for each in error.errors()
    ]
    return problem(422, "; ".join(f"{each.field}: {each.detail}" for each in errors), errors)


async def _invalid_reading(_: Request, error: Any) -> Response:
    return problem(400 if error.reason in UNREADABLE else 422, str(error), field_problems(error))


async def _unavailable(_: Request, error: Any) -> Response:
    return problem(503, str(error))


async def _gone(_: Request, __: Any) -> Response:
    """Nobody hears it: the client has left in the middle of its request, which is no fault of ours to log."""
    return problem(400, "the request was not sent to its end")


async def _database_away(_: Request, error: Any) -> Response:
    log.warning("database_unavailable", error=repr(error))
    return problem(503, "the database does not answer in time; try again")


async def unexpected(request: Request, error: Any) -> Response:
    """What nobody has foreseen: 500, and the log knows more."""
    log.error("request_failed", method=request.method, exc_info=error)
    return problem(500, "the error was logged; try again, and tell the operators if it stays")
