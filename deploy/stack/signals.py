"""Ctrl-C, SIGTERM and SIGHUP end a block in order: what it has started is stopped, and the command succeeds."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

STOPPING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Stopped(BaseException):
    """Somebody asked us to end; passes every `except Exception` on its way out."""


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Run the block until it ends or a signal asks to. Further signals are ignored: stopping takes a few seconds."""
    before = {number: signal.signal(number, _stop) for number in STOPPING}
    try:
        yield
    except _Stopped:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    for each in STOPPING:
        signal.signal(each, signal.SIG_IGN)
    raise _Stopped
