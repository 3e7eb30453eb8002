"""Errors of the store, and the classification of errors: a failure of the database, an invalid row, or an error of our own code.

Only the first passes by itself and is retried. A record that causes one of the others is set aside.
"""

from collections.abc import Iterable
from typing import Final

import asyncpg
from aiokafka import TopicPartition

from consumer.records.batch import BatchResult
from schemas.config.transports import is_closed_transport
from sql.connection import CONNECTION_ERRORS, DATABASE_ERRORS

_CAUSES: Final = {
    "08": "connection",
    "25": "connection",  # idle_in_transaction_session_timeout: the server has ended the session
    "40": "serialization",
    "42": "schema_or_permission",
    "53": "resources",
    "55": "lock",
    "57": "shutdown_or_timeout",
    "58": "system",
    "XX": "internal",
}
# Cardinality violations, data exceptions, integrity violations, and limits of the program such as the size of an index entry.
_ABOUT_DATA: Final = ("21", "22", "23", "54")
# asyncpg's words for a connection that has broken. Its other InterfaceErrors say that the driver was used wrongly.
_CONNECTION_CLOSED: Final = ("is closed", "is closing", "released back to the pool")


class FencedError(Exception):
    """Another consumer has moved the offset of a partition of this batch. Nothing was written: continue at the stored offsets."""

    def __init__(self, partitions: Iterable[TopicPartition]) -> None:
        self.partitions = frozenset(partitions)
        names = ", ".join(sorted(f"{each.topic}-{each.partition}" for each in self.partitions))
        super().__init__(f"the stored offset of {names} is not the expected one")


class CommitOutcomeUnknownError(Exception):
    """The connection was lost during COMMIT. The stored offsets show whether the batch was committed; if so, `result` applies."""

    def __init__(self, result: BatchResult) -> None:
        super().__init__("the connection was lost during COMMIT")
        self.result = result


def is_passing(error: BaseException) -> bool:
    """Whether an error may pass by itself: a failure of the database, or of the connection to it.

    A missing table or privilege (42xxx) passes once an operator migrates the schema. A missing table partition is a 23514 that
    names no constraint; it passes once maintenance creates the partition. So may any unknown error of PostgreSQL.
    """
    if is_closed_transport(error):
        return True
    return isinstance(error, CommitOutcomeUnknownError) or (isinstance(error, DATABASE_ERRORS) and not is_misuse(error))


def is_misuse(error: BaseException) -> bool:
    """Whether a database error is caused by what it was given: invalid data, or a wrong use of the driver."""
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "").startswith(_ABOUT_DATA) and not _is_missing_partition(error)
    return isinstance(error, asyncpg.InterfaceError) and not any(words in str(error) for words in _CONNECTION_CLOSED)


def is_rejection(error: BaseException) -> bool:
    """Whether PostgreSQL has rejected data, as opposed to an error on our side of the connection.

    asyncpg raises a PostgresError too when it cannot encode a value, but one without the fields that a server sends.
    """
    return isinstance(error, asyncpg.PostgresError) and is_misuse(error) and error.severity is not None


def is_connection_lost(error: BaseException) -> bool:
    """Whether the connection broke, so that the outcome of the last statement is unknown."""
    if isinstance(error, CONNECTION_ERRORS):
        return True
    # A server that ends a session (57P01 to 57P03) may do so after it has written the commit.
    return isinstance(error, asyncpg.PostgresError) and (error.sqlstate or "").startswith(("08", "57P"))


def retry_cause(error: BaseException) -> str:
    """The cause of a retry, as a metric label with few values."""
    if isinstance(error, asyncpg.PostgresError):
        if _is_missing_partition(error):
            return "no_partition"
        return _CAUSES.get((error.sqlstate or "")[:2], "unknown")
    return "connection" if isinstance(error, CommitOutcomeUnknownError) or is_connection_lost(error) else "unknown"


def describe(error: BaseException, most_characters: int = 500) -> str:
    """An error in one line that PostgreSQL can store; its message may quote a batch, so it is cut."""
    sqlstate = f" (SQLSTATE {error.sqlstate})" if isinstance(error, asyncpg.PostgresError) else ""
    return storable(f"{type(error).__name__}{sqlstate}: {error}"[:most_characters])


def storable(text: str) -> str:
    """A text as PostgreSQL can store it: NUL characters and lone surrogates are written as escapes."""
    return text.replace("\0", "\\0").encode(errors="backslashreplace").decode()


def _is_missing_partition(error: asyncpg.PostgresError) -> bool:
    return error.sqlstate == "23514" and error.constraint_name is None
