"""Whose fault an error of the database is, and what to do next: set the row aside, or keep the batch and try again."""

import asyncpg

from sql.connection import CONNECTION_ERRORS

_CAUSES = {
    "08": "connection",
    "25": "connection",  # idle-in-transaction time-out: the server has ended the session
    "40": "serialization",
    "42": "schema_or_permission",
    "53": "resources",
    "55": "lock",
    "57": "shutdown_or_timeout",
    "58": "system",
    "XX": "internal",
}


def is_row_fault(error: BaseException) -> bool:
    """Whether the database refused a row for what is in it: data exceptions (22xxx) and the checks of a table (23514).

    A missing partition is a 23514 as well, but names no constraint: that is the system's fault, as is everything unknown.
    """
    if not isinstance(error, asyncpg.PostgresError) or error.sqlstate is None:
        return False
    return error.sqlstate.startswith("22") or (error.sqlstate == "23514" and error.constraint_name is not None)


def is_connection_lost(error: BaseException) -> bool:
    """Whether the connection broke, so that the outcome of what was asked last is unknown."""
    if isinstance(error, CONNECTION_ERRORS):
        return True
    # A server that ends a session (57P01..03) may do so after the commit was written.
    return isinstance(error, asyncpg.PostgresError) and (error.sqlstate or "").startswith(("08", "57P"))


def cause(error: BaseException) -> str:
    """The cause of a retry, as a label of few values."""
    if isinstance(error, asyncpg.PostgresError):
        if error.sqlstate == "23514":
            return "no_partition"
        return _CAUSES.get((error.sqlstate or "")[:2], "unknown")
    return "connection" if is_connection_lost(error) else "unknown"
