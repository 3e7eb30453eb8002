"""Classification of errors: those that pass, those about data, and those of our own code."""

import asyncpg
import pytest

from consumer.storage.errors import describe, is_connection_lost, is_passing, is_rejection, retry_cause


def database_error(sqlstate: str, constraint: str | None = None, message: str = "message") -> asyncpg.PostgresError:
    fields = {"C": sqlstate, "M": message, "S": "ERROR"} | ({"n": constraint} if constraint else {})
    return asyncpg.PostgresError.new(fields)


@pytest.mark.parametrize(
    ("sqlstate", "constraint"),
    [
        ("22003", None),
        ("22P02", None),
        ("22021", None),
        ("23502", None),
        ("23505", "key"),
        ("23514", "kwh"),
        ("21000", None),
        ("54000", None),
    ],
)
def test_an_error_about_data_does_not_pass(sqlstate: str, constraint: str | None) -> None:
    error = database_error(sqlstate, constraint)
    assert is_rejection(error)
    assert not is_passing(error)


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
        ("P0001", "unknown"),
        ("XX000", "internal"),
        ("99999", "unknown"),
    ],
)
def test_every_other_error_of_postgresql_may_pass_and_has_a_cause(sqlstate: str, expected: str) -> None:
    assert is_passing(database_error(sqlstate))
    assert retry_cause(database_error(sqlstate)) == expected


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError(),
        TimeoutError(),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.InterfaceError("cannot call Transaction.commit(): the underlying connection is closed"),
        asyncpg.InterfaceError(
            "cannot call Connection.fetch(): connection has been released back to the pool (the connection is lost)"
        ),
        asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress"),
        database_error("57P01"),
        database_error("08003"),
    ],
)
def test_a_lost_connection_passes_and_leaves_the_outcome_unknown(error: Exception) -> None:
    assert is_connection_lost(error)
    assert is_passing(error)
    assert not is_connection_lost(database_error("23505"))


@pytest.mark.parametrize(
    "error",
    [
        ValueError("year 58878 is out of range"),
        TypeError(),
        KeyError("meter"),
        RuntimeError("a stored reading disappeared"),
        AssertionError(),
        asyncpg.DataError("invalid input for query argument $7"),  # raised by the driver before it sends anything
        asyncpg.InterfaceError("the server expects 3 arguments for this query, 2 were passed"),
        asyncpg.InterfaceError("cannot perform operation: another operation is in progress"),
    ],
)
def test_an_error_of_our_own_code_neither_passes_nor_is_blamed_on_the_database(error: Exception) -> None:
    assert not is_passing(error)
    assert not is_rejection(error)


def test_a_transport_that_uvloop_has_closed_is_a_lost_connection() -> None:
    assert is_passing(RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed"))


def test_a_description_names_the_error_and_is_bounded() -> None:
    assert describe(KeyError("meter")) == "KeyError: 'meter'"
    assert describe(database_error("22003")).endswith("(SQLSTATE 22003): message")
    assert len(describe(ValueError("x" * 9999))) == 500
