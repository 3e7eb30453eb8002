"""The reaper: a helper process that stops the children of its parent after the parent has exited, however it exited.

Input: a line `pid create_time signal` for every child on stdin, in the order in which they were started. When the parent exits,
stdin closes. Children that are still alive then get their signal, in reverse order, and are killed if they do not exit.
"""

import contextlib
import signal
import sys
from typing import Final

import psutil

STOP_TIMEOUT_SECONDS: Final = 5.0


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    children = [line.split() for line in sys.stdin]
    for pid, created, number in reversed(children):
        with contextlib.suppress(psutil.Error):
            _stop(psutil.Process(int(pid)), float(created), int(number))


def _stop(process: psutil.Process, created: float, number: int) -> None:
    if process.create_time() != created:
        return  # the pid has been reused by another process
    process.send_signal(number)
    try:
        process.wait(STOP_TIMEOUT_SECONDS)
    except psutil.TimeoutExpired:
        process.kill()


if __name__ == "__main__":
    main()
