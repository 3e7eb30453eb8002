"""Waiting for a condition with a deadline, in place of a sleep.

The connections to a database that the questions of a wait need are kept until it ends: to connect costs more than to ask.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from typing import Any, TypeVar

import asyncpg

T = TypeVar("T")
CLOSING_SECONDS = 2  # a server may be frozen or gone
_kept: ContextVar[dict[str, Any] | None] = ContextVar("kept connections", default=None)


async def until(
    condition: Callable[[], Awaitable[T]], what: str | Callable[[], str], *, timeout: float = 60, every: float = 0.05
) -> T:
    """Awaits `condition` every `every` seconds until its result is truthy, and returns that result.

    Raises:
        AssertionError: after `timeout` seconds, with a description of the condition (`what`; a function is called only then)
            and its last result.
    """
    deadline = time.monotonic() + timeout
    async with kept_connections():
        while True:
            last = await condition()
            if last:
                return last
            if time.monotonic() > deadline:
                description = what if isinstance(what, str) else what()
                raise AssertionError(f"waited {timeout:.0f} s for: {description}; last result: {last!r}")
            await asyncio.sleep(every)


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
