"""Logging of slow statements: their name and first line, never their arguments."""

from collections.abc import Callable
from functools import cache
from typing import Any, Final

import structlog

from sql.queries import queries

log = structlog.get_logger(__name__)

MAX_LINE_LENGTH: Final = 200


def log_slow_statements(connection: Any, slower_than_ms: int | None) -> None:
    """Log the statements of a connection that take longer than this; None: no statement.

    The driver does not report COPY: the duration of batches is a metric of the consumer.
    """
    if slower_than_ms is not None:
        connection.add_query_logger(_logger(slower_than_ms / 1000))


@cache  # a connection keeps each distinct logger once, so there is one function per limit
def _logger(seconds: float) -> Callable[[Any], None]:
    def log_if_slow(record: Any) -> None:
        if record.elapsed < seconds:
            return
        failed = type(record.exception).__name__ if record.exception else None
        log.warning(
            "slow_statement",
            statement=name_of(record.query),
            first_line=first_line(record.query),
            milliseconds=round(record.elapsed * 1000),
            failed=failed,
        )

    return log_if_slow


def name_of(statement: str) -> str | None:
    """The name of a statement in sql/queries; None for any other."""
    return _names().get(statement)


def first_line(statement: str) -> str:
    """The first line that is not a comment. String literals are left out, because they may hold personal data or secrets."""
    lines = [line.strip() for line in statement.splitlines()]
    line = next((line for line in lines if line and not line.startswith("--")), "")
    return _without_literals(line)[:MAX_LINE_LENGTH]


def _without_literals(line: str) -> str:
    parts = line.split("'")
    return "'...'".join(parts[::2])


@cache
def _names() -> dict[str, str]:
    names = [name for name in queries.available_queries if not name.endswith("_cursor")]
    return {getattr(queries, name).sql: name for name in names}
