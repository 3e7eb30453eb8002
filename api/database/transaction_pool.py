"""Reading through a pooler in transaction mode, such as PgBouncer.

acquire: BEGIN with settings -> statements -> release: ROLLBACK

The pooler may run the next transaction of a session on another server connection. Settings of the session would be lost there,
and so would be a statement between its preparation and its execution.
"""

import asyncio
from contextlib import suppress
from typing import Any, Self

import asyncpg

from sql.connection import DATABASE_ERRORS, SESSION


class TransactionPool:
    """A pool of connections in a read-only transaction, with the interface of asyncpg's pool that the read service uses.

    `settings` are those of each transaction, in addition to SESSION.
    """

    def __init__(self, pool: Any, settings: dict[str, str]) -> None:
        self._pool = pool
        self._begin = _begin(SESSION | settings)

    async def __aenter__(self) -> Self:
        await self._pool.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._pool.__aexit__(*error)

    def get_max_size(self) -> int:
        return int(self._pool.get_max_size())

    def terminate(self) -> None:
        self._pool.terminate()

    async def acquire(self, *, timeout: float | None = None) -> Any:
        """A connection; waits up to `timeout` seconds for it and for the beginning of its transaction."""
        async with asyncio.timeout(timeout):
            connection = await self._pool.acquire()
            try:
                await connection.execute(self._begin)
            except BaseException:
                _terminate(connection)
                await self._pool.release(connection)
                raise
        return connection

    async def release(self, connection: Any) -> None:
        """Ends the transaction; closes the connection where that fails, because nothing was written."""
        try:
            await connection.execute("ROLLBACK")
        except DATABASE_ERRORS:
            _terminate(connection)
        except BaseException:
            _terminate(connection)
            raise
        finally:
            await self._pool.release(connection)


def _terminate(connection: Any) -> None:
    with suppress(asyncpg.InterfaceError):  # already closed and removed from its pool
        connection.terminate()


def _begin(settings: dict[str, str]) -> str:
    """One message, because a pooler would otherwise be free to change the server connection."""
    of_sessions = ("application_name", "default_transaction_isolation", "default_transaction_read_only")
    local = [f"SET LOCAL {name} = '{value}'" for name, value in settings.items() if name not in of_sessions]
    return "; ".join(["BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY", *local])
