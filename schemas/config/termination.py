"""SIGTERM for commands that do one thing and exit. As process 1 of a container they would otherwise ignore it."""

import signal
from types import FrameType


def end_on_sigterm() -> None:
    """SIGTERM ends the process as Ctrl-C does: cleanup runs, and the exit code is 130, because the command is not complete.

    The kernel takes no default action on a signal to the first process of a container: without a handler, only SIGKILL ends it.
    Services replace this handler by their own.
    """
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background by a shell
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)  # asyncio cancels the main task
