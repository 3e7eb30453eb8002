"""Orderly shutdown by signals: Ctrl-C, SIGTERM and SIGHUP end a block, its cleanup runs, and the command succeeds."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Stopped(BaseException):
    """A stop signal arrived. A BaseException, so that no `except Exception` on the way out catches it."""


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Runs the block until it ends or a stop signal arrives. Further signals are ignored, because cleanup takes a few seconds."""
    before = {number: signal.signal(number, _stop) for number in STOP_SIGNALS}
    try:
        yield
    except _Stopped:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    for each in STOP_SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise _Stopped
