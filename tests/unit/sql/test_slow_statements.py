"""What the log says of a slow statement: its name and its first line, and nothing of anybody's values."""

from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from sql.queries import queries
from sql.slow_statements import first_line, log_slow_statements, name_of


class Connection:
    """Keeps the loggers that it is given, as a connection does."""

    def __init__(self) -> None:
        self.loggers: set[Any] = set()

    def add_query_logger(self, logger: Any) -> None:
        self.loggers.add(logger)

    def ran(self, query: str, seconds: float, error: Exception | None = None) -> None:
        for logger in self.loggers:
            logger(SimpleNamespace(query=query, elapsed=seconds, args=("VEH-SECRET",), exception=error))


def test_only_what_takes_longer_is_said_once_and_without_arguments() -> None:
    connection = Connection()
    for _ in range(2):
        log_slow_statements(connection, 250)
    with structlog.testing.capture_logs() as said:
        connection.ran(queries.rollup_state.sql, 0.249)
        connection.ran(queries.rollup_state.sql, 0.25)
        connection.ran("SELECT 'VEH-SECRET'", 1, ValueError("VEH-SECRET"))
    assert "VEH-SECRET" not in str(said)
    assert [(line["event"], line["statement"], line["milliseconds"], line["failed"]) for line in said] == [
        ("slow_statement", "rollup_state", 250, None),
        ("slow_statement", None, 1000, "ValueError"),
    ]


def test_nothing_is_said_unless_asked_for() -> None:
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
def test_the_first_line_has_no_values(statement: str, line: str) -> None:
    assert first_line(statement) == line


def test_named_statements_are_known_by_their_name() -> None:
    assert name_of(queries.claim.sql) == "claim"
    assert name_of("SELECT 1") is None
