"""The watchdog: ends a process whose event loop is stuck, for supervisors that do not probe /healthz."""

import faulthandler
import os
import sys
import threading
from collections.abc import Callable
from typing import Final

import structlog

from consumer.monitoring.health import Health

log = structlog.get_logger(__name__)

CHECK_SECONDS: Final = 1.0
REPORT_AFTER_CHECKS: Final = 5  # consecutive; a single one may only show that the whole machine was suspended
EXIT_AFTER_CHECKS: Final = 90
EXIT_CODE: Final = 70  # EX_SOFTWARE


class Watchdog:
    """Counts the consecutive checks that found the event loop stuck: first dumps all stacks, then ends the process."""

    def __init__(self, health: Health, exit_process: Callable[[int], object] = os._exit) -> None:
        self._health = health
        self._exit_process = exit_process
        self._stuck_checks = 0

    def start(self) -> None:
        """Check every second, on a thread of its own."""
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def check(self) -> None:
        problem = self._health.live()
        self._stuck_checks = self._stuck_checks + 1 if problem else 0
        if self._stuck_checks == REPORT_AFTER_CHECKS:
            exits_in = (EXIT_AFTER_CHECKS - REPORT_AFTER_CHECKS) * CHECK_SECONDS
            log.error("event_loop_stuck", detail=problem, exits_in_seconds=exits_in)
            faulthandler.dump_traceback(file=sys.__stderr__ or sys.stderr, all_threads=True)
        if self._stuck_checks >= EXIT_AFTER_CHECKS:
            log.error("watchdog_exit", detail=problem)
            self._exit_process(EXIT_CODE)

    def _run(self) -> None:
        interval = threading.Event()
        while not interval.wait(CHECK_SECONDS):
            self.check()
