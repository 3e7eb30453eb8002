"""Waiting for a server of ours to answer, without missing that it has ended."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import psutil

from deploy.stack.processes import ProcessEndedError, end_of

PAUSE_SECONDS: Final = 0.05


def until_it_answers(
    name: str, process: psutil.Popen, log: Path, asks: Callable[[], Awaitable[None]], *, timeout: float = 60
) -> None:
    """Ask until no error is raised.

    Raises:
        ProcessEndedError: when the process ends first.
        TimeoutError: when it does not answer in time.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            asyncio.run(_in_time(asks))
        except Exception as error:
            if process.poll() is not None:
                raise ProcessEndedError(
                    f"{name} ended with code {process.returncode}; its log {log} ends:\n{end_of(log)}"
                ) from None
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{name} does not answer after {timeout:.0f} s ({error!r}); its log is {log}"
                ) from error
            time.sleep(PAUSE_SECONDS)
        else:
            return


async def _in_time(asks: Callable[[], Awaitable[None]]) -> None:
    async with asyncio.timeout(10):
        await asks()
