"""Transactions of the store: begun and committed by hand, rolled back in bounded time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg

from consumer.records.batch import BatchResult
from consumer.storage.errors import CommitOutcomeUnknownError, is_connection_lost
from consumer.storage.row_writers import Connection

ROLLBACK_TIMEOUT_SECONDS: Final = 2.0


@asynccontextmanager
async def begin(connection: Connection) -> AsyncIterator[Any]:
    """Begin a transaction that the caller commits; an exception inside the block rolls it back."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield transaction
    except BaseException:
        await _roll_back(connection, transaction)
        raise


@asynccontextmanager
async def trial(connection: Connection) -> AsyncIterator[None]:
    """Begin a transaction that is rolled back in any case."""
    async with begin(connection) as transaction:
        yield
    await _roll_back(connection, transaction)


async def commit(transaction: Any, result: BatchResult) -> None:
    """Commit the transaction of a batch with this result.

    Raises:
        CommitOutcomeUnknownError: the connection was lost.
        Exception: any other error; nothing was written.
    """
    try:
        await transaction.commit()
    except Exception as error:
        if is_connection_lost(error):
            raise CommitOutcomeUnknownError(result) from error
        raise


async def _roll_back(connection: Connection, transaction: Any) -> None:
    """Roll back in bounded time: other consumers wait for our locks, so an unresponsive server must not hold us up."""
    try:
        async with asyncio.timeout(ROLLBACK_TIMEOUT_SECONDS):
            await transaction.rollback()
    except BaseException as error:  # a second cancellation as well: the transaction would keep its locks
        with contextlib.suppress(asyncpg.InterfaceError):  # the pool has released a broken connection already
            connection.terminate()  # the server rolls back by itself when it loses the connection
        if not isinstance(error, Exception):
            raise
