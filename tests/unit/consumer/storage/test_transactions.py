"""A transaction on a broken connection that its pool has released already: the error that broke it is raised."""

from typing import Any

import asyncpg
import pytest

from consumer.storage.transactions import begin

pytestmark = pytest.mark.anyio


class BrokenTransaction:
    async def start(self) -> None: ...

    async def rollback(self) -> None:
        raise asyncpg.InterfaceError("the underlying connection is closed")


class ReleasedConnection:
    """What asyncpg leaves of a connection after its pool has released it."""

    def transaction(self) -> BrokenTransaction:
        return BrokenTransaction()

    def terminate(self) -> None:
        raise asyncpg.InterfaceError(
            "cannot call Connection.terminate(): connection has been released back to the pool"
        )


async def test_the_error_that_broke_the_connection_is_not_hidden() -> None:
    connection: Any = ReleasedConnection()
    with pytest.raises(ConnectionResetError):
        async with begin(connection):
            raise ConnectionResetError
