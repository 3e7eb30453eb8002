"""Work that many requests ask for at once: done once for all of them, in a bounded queue, and ended when they have all left."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from api.problems import Overloaded

Result = TypeVar("Result")


@dataclass(slots=True)
class _Piece(Generic[Result]):
    """Work in progress or queued, and the number of requests that wait for its result."""

    task: "asyncio.Task[Result]"
    waiting: int = 0


class SharedWork(Generic[Result]):
    """Runs at most `running` pieces of work at a time, each with a key; `queued` more may wait for their turn."""

    def __init__(self, *, running: int, queued: int) -> None:
        self._most = running + queued
        self._turns = asyncio.Semaphore(running)
        self._pieces: dict[Hashable, _Piece[Result]] = {}

    async def result(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """The result of the work with this key, which `work` starts unless it is running or queued already.

        The work runs in a task of its own. It is cancelled when the last request that waits for it is cancelled.

        Raises:
            Overloaded: the queue is full.
        """
        piece = self._pieces.get(key) or self._start(key, work)
        piece.waiting += 1
        try:
            return await asyncio.shield(piece.task)
        finally:
            piece.waiting -= 1
            if not piece.waiting:
                self._end(key, piece)

    def _start(self, key: Hashable, work: Callable[[], Awaitable[Result]]) -> _Piece[Result]:
        if len(self._pieces) >= self._most:
            raise Overloaded(f"{self._most} computations like this one are running or queued; try again in a moment")
        task = asyncio.create_task(self._run(work), name=f"shared-work-{key}")
        piece = self._pieces[key] = _Piece(task)
        task.add_done_callback(lambda _: self._end(key, piece))
        return piece

    async def _run(self, work: Callable[[], Awaitable[Result]]) -> Result:
        async with self._turns:
            return await work()

    def _end(self, key: Hashable, piece: _Piece[Result]) -> None:
        if self._pieces.get(key) is piece:
            del self._pieces[key]
        if not piece.task.done():
            piece.task.cancel()
        elif not piece.task.cancelled():
            piece.task.exception()  # retrieved here as well: the request that waited for it may have left
