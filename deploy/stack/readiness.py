"""Readiness of a server that was just started."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import psutil

from deploy.stack.processes import ProcessEndedError, end_of

RETRY_SECONDS: Final = 0.05
PROBE_TIMEOUT_SECONDS: Final = 10


def wait_until_ready(
    name: str, process: psutil.Popen, log: Path, probe: Callable[[], Awaitable[None]], *, timeout: float = 180
) -> None:
    """Repeats `probe` until it raises nothing. Called outside of an event loop.

    Raises:
        ProcessEndedError: the process exited first.
        TimeoutError: the probe did not succeed within `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            asyncio.run(_with_timeout(probe))
        except Exception as error:
            if process.poll() is not None:
                raise ProcessEndedError(
                    f"{name} exited with code {process.returncode}; its log {log} ends:\n{end_of(log)}"
                ) from None
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{name} is not ready after {timeout:.0f} s ({error!r}); its log is {log}"
                ) from error
            time.sleep(RETRY_SECONDS)
        else:
            return


async def _with_timeout(probe: Callable[[], Awaitable[None]]) -> None:
    async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
        await probe()
