"""Waiting for a condition, with a deadline; never a sleep in a test."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def until(
    condition: Callable[[], Awaitable[T]], what: str | Callable[[], str], *, timeout: float = 60, every: float = 0.05
) -> T:
    """What `condition` gives once it is truthy.

    Raises:
        AssertionError: names `what` was waited for (asked only then, where it is a function) and what the condition gave last.
    """
    deadline = time.monotonic() + timeout
    while True:
        last = await condition()
        if last:
            return last
        if time.monotonic() > deadline:
            said = what if isinstance(what, str) else what()
            raise AssertionError(f"waited {timeout:.0f} s for: {said}; last seen: {last!r}")
        await asyncio.sleep(every)
