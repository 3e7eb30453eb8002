"""The guard: a process that outlives its owner for a moment and ends what the owner has started.

stdin: one line `pid create_time signal` for every child, in the order in which they were started. When the owner ends, however
it ends, stdin closes: children that still live are stopped in reverse order, by the signal they understand, then killed.
"""

import contextlib
import signal
import sys
from typing import Final

import psutil

PATIENCE_SECONDS: Final = 5.0


def main() -> None:
    """Wait for the owner's end, then clear up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    children = [line.split() for line in sys.stdin]
    for pid, created, number in reversed(children):
        with contextlib.suppress(psutil.Error):
            _end(psutil.Process(int(pid)), float(created), int(number))


def _end(process: psutil.Process, created: float, number: int) -> None:
    if process.create_time() != created:
        return  # the number belongs to another process by now
    process.send_signal(number)
    try:
        process.wait(PATIENCE_SECONDS)
    except psutil.TimeoutExpired:
        process.kill()


if __name__ == "__main__":
    main()
