"""Waiting for a condition with a deadline, in place of a sleep."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tests.support.connections import kept_connections

T = TypeVar("T")


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
