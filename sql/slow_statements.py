"""Statements that take long, said in the log: their name and first line, never what they were asked with."""

from collections.abc import Callable
from functools import cache
from typing import Any, Final

import structlog

from sql.queries import queries

log = structlog.get_logger(__name__)

LONGEST: Final = 200  # characters of a statement that has no name


def log_slow_statements(connection: Any, slower_than_ms: int | None) -> None:
    """Have a connection say which of its statements take longer than so many milliseconds; None: none of them.

    Rows that COPY carries are no statement to the driver: how long batches take is a metric of the consumer.
    """
    if slower_than_ms is not None:
        connection.add_query_logger(_logger(slower_than_ms / 1000))


@cache  # one function for each limit: a connection keeps each logger once
def _logger(seconds: float) -> Callable[[Any], None]:
    def tell(record: Any) -> None:
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

    return tell


def name_of(statement: str) -> str | None:
    """The name that a statement has in sql/queries; None for any other."""
    return _names().get(statement)


def first_line(statement: str) -> str:
    """The first line of a statement that is no comment. What stands in quotes may be somebody's: it is left out."""
    lines = [line.strip() for line in statement.splitlines()]
    line = next((line for line in lines if line and not line.startswith("--")), "")
    return _without_literals(line)[:LONGEST]


def _without_literals(line: str) -> str:
    kept = line.split("'")
    return "'...'".join(kept[::2])


@cache
def _names() -> dict[str, str]:
    names = [name for name in queries.available_queries if not name.endswith("_cursor")]
    return {getattr(queries, name).sql: name for name in names}
