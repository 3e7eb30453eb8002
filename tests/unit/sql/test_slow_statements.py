"""Logging of slow statements: their name and first line, and never a value."""

from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from sql.queries import queries
from sql.slow_statements import first_line, log_slow_statements, name_of


class Connection:
    """Stands in for asyncpg.Connection, which keeps a set of query loggers."""

    def __init__(self) -> None:
        self.loggers: set[Any] = set()

    def add_query_logger(self, logger: Any) -> None:
        self.loggers.add(logger)

    def run(self, query: str, seconds: float, error: Exception | None = None) -> None:
        for logger in self.loggers:
            logger(SimpleNamespace(query=query, elapsed=seconds, args=("VEH-SECRET",), exception=error))


def test_only_slower_statements_are_logged_once_and_without_arguments() -> None:
    connection = Connection()
    for _ in range(2):
        log_slow_statements(connection, 250)
    with structlog.testing.capture_logs() as logged:
        connection.run(queries.rollup_state.sql, 0.249)
        connection.run(queries.rollup_state.sql, 0.25)
        connection.run("SELECT 'VEH-SECRET'", 1, ValueError("VEH-SECRET"))
    assert "VEH-SECRET" not in str(logged)
    assert [(line["event"], line["statement"], line["milliseconds"], line["failed"]) for line in logged] == [
        ("slow_statement", "rollup_state", 250, None),
        ("slow_statement", None, 1000, "ValueError"),
    ]


def test_nothing_is_logged_by_default() -> None:
    connection = Connection()
    log_slow_statements(connection, None)
    assert connection.loggers == set()


@pytest.mark.parametrize(
    ("statement", "line"),
    [
        ("-- why\n\n  SELECT 1\nFROM x", "SELECT 1"),
        ("SELECT 'a', 'b''c' FROM x", "SELECT '...', '...''...' FROM x"),
        ("SELECT 'unfinished", "SELECT "),
        ("", ""),
    ],
)
def test_the_first_line_contains_no_literals(statement: str, line: str) -> None:
    assert first_line(statement) == line


def test_statements_of_the_query_files_have_names() -> None:
    assert name_of(queries.claim.sql) == "claim"
    assert name_of("SELECT 1") is None
