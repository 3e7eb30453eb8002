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


class StuckError(Exception):
    """Nothing can happen any more."""


class Handle:
    """A callback that waits for its turn, or for an instant. `process` is None for a callback of the world itself."""

    __slots__ = ("args", "callback", "cancelled_", "instant", "process")

    def __init__(self, process: "ProcessLoop | None", instant: float, callback: Callable[..., Any], args: Any) -> None:
        self.process = process
        self.instant = instant
        self.callback = callback
        self.args = args
        self.cancelled_ = False

    def cancel(self) -> None:
        self.cancelled_ = True

    def cancelled(self) -> bool:
        return self.cancelled_

    def when(self) -> float:
        return self.instant


class Scheduler:
    """Virtual time in seconds, and all that is going to happen.

    `haste` is the probability that a timer fires before the next ready callback: with 0 callbacks take no time, as on a fast
    machine, and with more of it messages and time-outs arrive between any two of them.
    """

    def __init__(self, rng: Random, haste: float = 0.0) -> None:
        self.now = 0.0
        self.steps = 0
        self.current: ProcessLoop | None = None
        self._rng = rng
        self._random = rng.random
        self._haste = haste
        self._timers: list[tuple[float, float, int, Handle]] = []
        self._sequence = 0
        self._ready: list[ProcessLoop] = []

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any) -> Handle:
        """Run a callback of the world, outside of all processes, after `delay` seconds."""
        handle = Handle(None, self.now + delay, callback, args)
        self.add_timer(handle)
        return handle

    def add_timer(self, handle: Handle) -> None:
        self._sequence += 1
        heappush(self._timers, (handle.instant, self._random(), self._sequence, handle))

    def add_ready(self, process: "ProcessLoop") -> None:
        self._ready.append(process)

    def run(self, finished: Callable[[], bool], until: float) -> bool:
        """Run until `finished` or until the instant; whether it finished. Raises what a callback of the world raises."""
        while not finished():
            if self.now >= until:
                return False
            self.step()
        return True

    def step(self) -> None:
        """Fire one timer, or run one callback of a process that has one."""
        self.steps += 1
        ready = self._ready
        if not ready:
            if not self._fire():
                raise StuckError("no process has anything to do, and no timer is set")
            return
        if self._timers and (self._timers[0][0] <= self.now or self._random() < self._haste):
            self._fire()
        self.now += CALLBACK_SECONDS
        index = int(self._random() * len(ready)) if len(ready) > 1 else 0
        process = ready[index]
        if process.run_one() and not process.frozen:
            return
        ready[index] = ready[-1]
        ready.pop()
        process.listed = False

    def _fire(self) -> bool:
        while self._timers:
            instant, _, _, handle = heappop(self._timers)
            if handle.cancelled_:
                continue
            self.now = max(self.now, instant)
            if handle.process is None:
                handle.callback(*handle.args)
            else:
                handle.process.add(handle)
            return True
        return False


_Base: Any = asyncio.AbstractEventLoop  # of whose methods a loop without sockets and threads needs few


class SimulatedTask(asyncio.Task[Any]):
    """A task whose place in a set does not depend on its address in memory."""

    _created = 0

    def __init__(self, coro: Any, *, loop: "ProcessLoop", name: str | None) -> None:
        SimulatedTask._created += 1
        self.number = SimulatedTask._created
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
        self._on_error = on_error
        self._callbacks: deque[Handle] = deque()

    def add(self, handle: Handle) -> None:
        if self.dead:
            return
        self._callbacks.append(handle)
        if not self.listed and not self.frozen:
            self.listed = True
            self.scheduler.add_ready(self)

    def run_one(self) -> bool:
        """Run one callback; whether there are more."""
        callbacks = self._callbacks
        if self.frozen or not callbacks:
            return False
        handle = callbacks.popleft()
        if not handle.cancelled_:
            self.scheduler.current = self
            events._set_running_loop(self)
            try:
                handle.callback(*handle.args)
            finally:
                events._set_running_loop(None)
                self.scheduler.current = None
        return bool(callbacks)

    def freeze(self) -> None:
        self.frozen = True

    def thaw(self) -> None:
        self.frozen = False
        if self._callbacks and not self.listed and not self.dead:
            self.listed = True
            self.scheduler.add_ready(self)

    def kill(self) -> None:
        """Nothing of this process runs again. Its suspended coroutines stay in memory until `dispose`."""
        self.dead = True
        self._callbacks.clear()

    def dispose(self) -> None:
        """Close what is suspended; nothing that it does on its way out has an effect any more."""
        self.dead = True
        self._callbacks.clear()
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
        handle = Handle(self, self.scheduler.now, callback, args)
        self.add(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Any:
        return self.call_at(self.scheduler.now + delay, callback, *args)

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Any:
        handle = Handle(self, when, callback, args)
        self.scheduler.add_timer(handle)
        return handle

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
