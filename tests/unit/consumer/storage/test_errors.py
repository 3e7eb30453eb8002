"""Classification of database errors by their SQLSTATE."""

import asyncpg
import pytest

from consumer.storage.errors import is_connection_lost, is_row_error, retry_cause


def database_error(sqlstate: str, constraint: str | None = None) -> asyncpg.PostgresError:
    fields = {"C": sqlstate, "M": "message", "S": "ERROR"} | ({"n": constraint} if constraint else {})
    return asyncpg.PostgresError.new(fields)


@pytest.mark.parametrize(
    ("sqlstate", "constraint"), [("22003", None), ("22P02", None), ("22021", None), ("23514", "kwh")]
)
def test_an_error_about_the_content_of_a_row_is_a_row_error(sqlstate: str, constraint: str | None) -> None:
    assert is_row_error(database_error(sqlstate, constraint))


@pytest.mark.parametrize(
    ("sqlstate", "expected"),
    [
        ("23514", "no_partition"),
        ("08006", "connection"),
        ("40001", "serialization"),
        ("40P01", "serialization"),
        ("53100", "resources"),
        ("53300", "resources"),
        ("55P03", "lock"),
        ("57P01", "shutdown_or_timeout"),
        ("57014", "shutdown_or_timeout"),
        ("42501", "schema_or_permission"),
        ("42P01", "schema_or_permission"),
        ("58030", "system"),
        ("XX000", "internal"),
        ("99999", "unknown"),
    ],
)
def test_every_other_error_is_a_failure_of_the_system_with_a_cause(sqlstate: str, expected: str) -> None:
    assert not is_row_error(database_error(sqlstate))
    assert retry_cause(database_error(sqlstate)) == expected


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError(),
        TimeoutError(),
        asyncpg.InterfaceError("closed"),
        asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress"),
        database_error("57P01"),
        database_error("08003"),
    ],
)
def test_a_lost_connection_leaves_the_outcome_unknown(error: Exception) -> None:
    assert is_connection_lost(error)
    assert not is_connection_lost(database_error("23505"))
