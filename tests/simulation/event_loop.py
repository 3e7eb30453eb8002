"""Virtual time: one scheduler for a world, and one asyncio event loop for each process in it.

A process of its own loop can be killed (nothing of it runs again, not even a `finally`) or frozen (its callbacks wait), as
SIGKILL and SIGSTOP do it. Within a loop callbacks run in the order in which asyncio promises to run them. The seed decides which
process runs next, and whether time passes, and messages arrive, while callbacks are waiting.
"""

import asyncio
from asyncio import events
from collections import deque
from collections.abc import Callable
from contextvars import Context
from heapq import heappop, heappush
from random import Random
from typing import Any, Final

CALLBACK_SECONDS: Final = 0.00002  # what a callback takes at least: without it, a loop that polls would stop the clock
CALLBACK: Final = 4  # its place in a handle
# Callbacks of asyncio's timers that do nothing but end a future. They need no turn of their own: what waits for the future does.
ENDS_OF_FUTURES: Final = frozenset(
    {asyncio.futures._set_result_unless_cancelled, asyncio.tasks._release_waiter}  # type: ignore[attr-defined]
)


class StuckError(Exception):
    """Nothing can happen any more."""


class Handle(list[Any]):
    """A callback that waits for its turn, or for an instant; cancelled when it is None. The heap of timers compares the lists.

    [instant, chance, number, process, callback, arguments]; `process` is None for a callback of the world itself.
    """

    __slots__ = ()

    def cancel(self) -> None:
        self[CALLBACK] = None

    def cancelled(self) -> bool:
        return self[CALLBACK] is None

    def when(self) -> float:
        instant: float = self[0]
        return instant


class Scheduler:
    """Virtual time in seconds, and all that is going to happen.

    `haste` is the probability that a timer fires before the next ready callback: with 0 callbacks take no time, as on a fast
    machine, and with more of it messages and time-outs arrive between any two of them.
    """

    def __init__(self, rng: Random, haste: float = 0.0) -> None:
        self.now = 0.0
        self.steps = 0
        self.tasks = 0  # that were created
        self.current: ProcessLoop | None = None  # whose callback ran last
        self.ready: list[ProcessLoop] = []
        self._random = rng.random
        self._haste = haste
        self._timers: list[Handle] = []
        self._sequence = 0
        self._stopped = False

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any) -> Handle:
        """Run a callback of the world, outside of all processes, after `delay` seconds."""
        self._sequence += 1
        handle = Handle((self.now + delay, self._random(), self._sequence, None, callback, args))
        heappush(self._timers, handle)
        return handle

    def add_timer(
        self, process: "ProcessLoop | None", instant: float, callback: Callable[..., Any], args: tuple[Any, ...]
    ) -> Handle:
        self._sequence += 1
        handle = Handle((instant, self._random(), self._sequence, process, callback, args))
        heappush(self._timers, handle)
        return handle

    def stop(self) -> None:
        """Let `run` return before the next step."""
        self._stopped = True

    def run(self, until: float) -> bool:
        """Run until the instant, or until `stop` is called; whether it was. Raises what a callback of the world raises."""
        self._stopped = False
        timers, ready, random, haste, callback_at = self._timers, self.ready, self._random, self._haste, CALLBACK
        try:
            while not self._stopped and self.now < until:
                self.steps += 1
                while timers and timers[0][callback_at] is None:
                    heappop(timers)
                if timers and (not ready or timers[0][0] <= self.now or (haste and random() < haste)):
                    instant, _, _, process, callback, args = handle = heappop(timers)
                    self.now = max(self.now, instant)
                    if process is None:
                        callback(*args)
                    else:
                        process.add(handle)
                elif not ready:
                    raise StuckError("no process has anything to do, and no timer is set")
                if ready:
                    self.now += CALLBACK_SECONDS
                    self._run_callback(int(random() * len(ready)) if len(ready) > 1 else 0)
        finally:
            self.current = None
            events._set_running_loop(None)
        return self._stopped

    def _run_callback(self, index: int) -> None:
        process = self.ready[index]
        callbacks = process.callbacks
        if callbacks and not process.frozen:
            _, _, _, _, callback, args = callbacks.popleft()
            if callback is not None:
                if process is not self.current:
                    self.current = process
                    events._set_running_loop(process)
                callback(*args)
        if not callbacks or process.frozen:
            self.ready[index] = self.ready[-1]
            self.ready.pop()
            process.listed = False


_Base: Any = asyncio.AbstractEventLoop  # of whose methods a loop without sockets and threads needs few


class SimulatedTask(asyncio.Task[Any]):
    """A task whose place in a set does not depend on its address in memory."""

    def __init__(self, coro: Any, *, loop: "ProcessLoop", name: str | None) -> None:
        loop.scheduler.tasks += 1
        self.number = loop.scheduler.tasks
        super().__init__(coro, loop=loop, name=name)

    def __hash__(self) -> int:
        return self.number


class ProcessLoop(_Base):  # type: ignore[misc]
    """The event loop of one simulated process. `on_error` gets what asyncio would log: exceptions that nobody retrieved."""

    def __init__(self, scheduler: Scheduler, on_error: Callable[[dict[str, Any]], None]) -> None:
        self.scheduler = scheduler
        self.frozen = False
        self.dead = False
        self.listed = False
        self.clock_offset = 0.0  # of time.time(), in seconds
        self.machine: Any = None  # the process that runs in this loop
        self.tasks: list[asyncio.Task[Any]] = []
        self.callbacks: deque[Handle] = deque()
        self._on_error = on_error

    def add(self, handle: Handle) -> None:
        if self.dead:
            return
        self.callbacks.append(handle)
        if not self.listed and not self.frozen:
            self.listed = True
            self.scheduler.ready.append(self)

    def freeze(self) -> None:
        self.frozen = True

    def thaw(self) -> None:
        self.frozen = False
        if self.callbacks and not self.listed and not self.dead:
            self.listed = True
            self.scheduler.ready.append(self)

    def kill(self) -> None:
        """Nothing of this process runs again. Its suspended coroutines stay in memory until `dispose`."""
        self.dead = True
        self.callbacks.clear()

    def dispose(self) -> None:
        """Close what is suspended; nothing that it does on its way out has an effect any more."""
        self.dead = True
        self.callbacks.clear()
        for task in self.tasks:
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                try:
                    task.get_coro().close()
                except (RuntimeError, Exception):  # noqa: BLE001 - it may wait in a `finally`
                    continue
        self.tasks.clear()

    # What asyncio asks of a loop

    def time(self) -> float:
        return self.scheduler.now

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Any:
        handle = Handle((0.0, 0.0, 0, self, callback, args))
        if not self.dead:
            self.callbacks.append(handle)
            if not self.listed and not self.frozen:
                self.listed = True
                self.scheduler.ready.append(self)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Any:
        process = None if callback in ENDS_OF_FUTURES else self
        return self.scheduler.add_timer(process, self.scheduler.now + delay, callback, args)

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Any:
        process = None if callback in ENDS_OF_FUTURES else self
        return self.scheduler.add_timer(process, when, callback, args)

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> Any:
        task = SimulatedTask(coro, loop=self, name=name)
        self.tasks.append(task)
        if len(self.tasks) > 200:
            self.tasks = [each for each in self.tasks if not each.done()]
        return task

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self.dead:
            self._on_error(context)
