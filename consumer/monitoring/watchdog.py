"""Ends a process whose loop stands still, for supervisors that do not ask /healthz; says first where it stands."""

import faulthandler
import os
import sys
import threading
from collections.abc import Callable
from typing import Final

import structlog

from consumer.monitoring.health import Health

log = structlog.get_logger(__name__)

EVERY_SECONDS: Final = 1.0
SAYS_AFTER: Final = 5  # checks in a row; one alone may only show that the whole machine was asleep
ENDS_AFTER: Final = 90
EXIT_CODE: Final = 70  # EX_SOFTWARE


class Watchdog:
    """Counts the checks in a row that found the loop stuck."""

    def __init__(self, health: Health, end: Callable[[int], object] = os._exit) -> None:
        self._health = health
        self._end = end
        self._stuck = 0

    def start(self) -> None:
        """Check every second, on a thread of its own."""
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def check(self) -> None:
        """One check."""
        problem = self._health.live()
        self._stuck = self._stuck + 1 if problem else 0
        if self._stuck == SAYS_AFTER:
            log.error("loop_stuck", detail=problem, ends_in_seconds=(ENDS_AFTER - SAYS_AFTER) * EVERY_SECONDS)
            faulthandler.dump_traceback(file=sys.__stderr__ or sys.stderr, all_threads=True)
        if self._stuck >= ENDS_AFTER:
            log.error("ended_by_watchdog", detail=problem)
            self._end(EXIT_CODE)

    def _run(self) -> None:
        waiting = threading.Event()
        while not waiting.wait(EVERY_SECONDS):
            self.check()
