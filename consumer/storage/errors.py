"""Errors of the store, and the classification of database errors: an invalid row, or a failure of the system."""

from collections.abc import Iterable
from typing import Final

import asyncpg
from aiokafka import TopicPartition

from consumer.records.batch import BatchResult
from sql.connection import CONNECTION_ERRORS

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


def is_row_error(error: BaseException) -> bool:
    """Whether PostgreSQL rejected a row for its content: data exceptions (22xxx) and check constraints of a table (23514).

    A missing table partition is a 23514 as well, but names no constraint. It is a failure of the system, as is any unknown error.
    """
    if not isinstance(error, asyncpg.PostgresError) or error.sqlstate is None:
        return False
    return error.sqlstate.startswith("22") or (error.sqlstate == "23514" and error.constraint_name is not None)


def is_connection_lost(error: BaseException) -> bool:
    """Whether the connection broke, so that the outcome of the last statement is unknown."""
    if isinstance(error, CONNECTION_ERRORS):
        return True
    # A server that ends a session (57P01 to 57P03) may do so after it has written the commit.
    return isinstance(error, asyncpg.PostgresError) and (error.sqlstate or "").startswith(("08", "57P"))


def retry_cause(error: BaseException) -> str:
    """The cause of a retry, as a metric label with few values."""
    if isinstance(error, asyncpg.PostgresError):
        if error.sqlstate == "23514":
            return "no_partition"
        return _CAUSES.get((error.sqlstate or "")[:2], "unknown")
    return "connection" if is_connection_lost(error) else "unknown"
