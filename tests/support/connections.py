"""Connections of a test to its database. Those of a wait are kept until it ends: to connect costs more than what is asked."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from typing import Any

import asyncpg

CLOSING_SECONDS = 2  # a server may be frozen or gone
_kept: ContextVar[dict[str, Any] | None] = ContextVar("kept connections", default=None)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Any]:
    """A connection for one query, which is closed after it, or within `kept_connections` kept for the next one."""
    kept = _kept.get()
    connection = kept.pop(url, None) if kept is not None else None
    if connection is None or connection.is_closed():
        connection = await asyncpg.connect(url, statement_cache_size=0)  # tables change between two questions
    try:
        yield connection
    except BaseException:
        connection.terminate()
        raise
    if kept is not None and url not in kept:
        kept[url] = connection
    else:
        await connection.close()


@asynccontextmanager
async def kept_connections() -> AsyncIterator[None]:
    """Keeps one connection for each URL until the block ends."""
    kept: dict[str, Any] = {}
    token = _kept.set(kept)
    try:
        yield
    finally:
        _kept.reset(token)
        for connection in kept.values():
            with suppress(TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await connection.close(timeout=CLOSING_SECONDS)
