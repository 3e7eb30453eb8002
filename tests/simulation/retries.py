"""stamina's attempts without its layers: the policy of `consumer.retry` decides, as it does there."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self


class Attempt:
    """One attempt; `wait` is how long to wait before the next one (seconds), None after a success."""

    next_wait = 0.0  # is logged only

    def __init__(self, wait_seconds: Callable[[BaseException], float | bool]) -> None:
        self.wait: float | None = None
        self._wait_seconds = wait_seconds

    def __enter__(self) -> None:
        self.wait = None

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        wait = self._wait_seconds(error) if error is not None else False
        if wait is False:
            return False
        self.wait = wait
        return True


class RetryContext:
    """`stamina.retry_context` with a policy that is a function of the error, and without a limit."""

    def __init__(self, on: Callable[[BaseException], float | bool], **limits: Any) -> None:
        self._on = on
        self._last: Attempt | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Attempt:
        if self._last is not None:
            if self._last.wait is None:
                raise StopAsyncIteration
            await asyncio.sleep(self._last.wait)
        self._last = Attempt(self._on)
        return self._last
