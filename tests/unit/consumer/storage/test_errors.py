"""Whose fault an error of the database is, by its SQLSTATE."""

import asyncpg
import pytest

from consumer.storage.errors import is_connection_lost, is_row_error, retry_cause


def fault(sqlstate: str, constraint: str | None = None) -> asyncpg.PostgresError:
    fields = {"C": sqlstate, "M": "message", "S": "ERROR"} | ({"n": constraint} if constraint else {})
    return asyncpg.PostgresError.new(fields)


@pytest.mark.parametrize(
    ("sqlstate", "constraint"), [("22003", None), ("22P02", None), ("22021", None), ("23514", "kwh")]
)
def test_what_is_in_a_row_is_the_rows_fault(sqlstate: str, constraint: str | None) -> None:
    assert is_row_error(fault(sqlstate, constraint))


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
def test_everything_else_is_the_systems_fault(sqlstate: str, expected: str) -> None:
    assert not is_row_error(fault(sqlstate))
    assert retry_cause(fault(sqlstate)) == expected


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError(),
        TimeoutError(),
        asyncpg.InterfaceError("closed"),
        asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress"),
        fault("57P01"),
        fault("08003"),
    ],
)
def test_a_lost_connection_leaves_the_outcome_unknown(error: Exception) -> None:
    assert is_connection_lost(error)
    assert not is_connection_lost(fault("23505"))
