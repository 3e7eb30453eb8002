"""Child processes that never outlive their parent: stopped in order when it exits, by the reaper when it crashes."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Final

import psutil

STOP_TIMEOUT_SECONDS: Final = 15.0
REAPER: Final = Path(__file__).with_name("reaper.py")


class ProcessEndedError(Exception):
    """A child exited unexpectedly. The message contains the end of its log."""


class Processes:
    """Starts children in sessions of their own: Ctrl-C in a terminal reaches only the parent, which stops them in order."""

    def __init__(self) -> None:
        self._children: list[tuple[psutil.Popen, signal.Signals]] = []
        self._reaper: subprocess.Popen[bytes] | None = None
        self._starting = threading.Lock()

    def __enter__(self) -> "Processes":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(
        self,
        command: Sequence[str | Path],
        *,
        log: Path | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        cwd: Path | None = None,
        stop_with: signal.Signals = signal.SIGTERM,
    ) -> psutil.Popen:
        """Starts a child. Thread-safe.

        Args:
            command: the program and its arguments.
            log: the file to which stdout and stderr are appended; None inherits both.
            env: the environment; None inherits it.
            user: the account to run as, if this process is root.
            cwd: the working directory.
            stop_with: the signal that makes it shut down in order.
        """
        with self._starting, contextlib.ExitStack() as stack:
            reaper = self._ensure_reaper()
            output = stack.enter_context(log.open("ab")) if log else None
            child = psutil.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if log else None,
                env=dict(env) if env is not None else None,
                user=user,
                group=user,
                extra_groups=[] if user else None,
                cwd=cwd,
                start_new_session=True,
            )
            reaper.write(f"{child.pid} {child.create_time()!r} {int(stop_with)}\n".encode())
            reaper.flush()
            self._children.append((child, stop_with))
        return child

    def stop(self, child: psutil.Popen, timeout: float = STOP_TIMEOUT_SECONDS) -> int:
        """Sends a child its stop signal, kills it after `timeout` seconds, and returns its exit code."""
        stop_with = next(number for each, number in self._children if each is child)
        if child.poll() is None:
            child.send_signal(stop_with)
            try:
                child.wait(timeout)
            except (subprocess.TimeoutExpired, psutil.TimeoutExpired):
                child.kill()
        return int(child.wait())

    def kill(self, child: psutil.Popen) -> None:
        """Sends SIGKILL to a child and to its own children, as a crash would, and waits until all of them are gone."""
        family: list[psutil.Process] = []
        with contextlib.suppress(psutil.NoSuchProcess):
            child.suspend()  # it sees none of its children end, and starts no others
            family = child.children(recursive=True)
            for each in [*family, child]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()
        child.wait()
        psutil.wait_procs(family, timeout=STOP_TIMEOUT_SECONDS)

    def close(self) -> None:
        """Stops all children, in reverse order of their start, then the reaper."""
        for child, _ in reversed(self._children):
            self.stop(child)
        self._children.clear()
        if self._reaper and self._reaper.stdin:
            self._reaper.stdin.close()
            self._reaper.wait(STOP_TIMEOUT_SECONDS)
            self._reaper = None

    def _ensure_reaper(self) -> IO[bytes]:
        if self._reaper is None:
            self._reaper = subprocess.Popen(
                [sys.executable, str(REAPER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            )
        if self._reaper.stdin is None:
            raise RuntimeError("the reaper has no stdin")
        return self._reaper.stdin


def end_of(log: Path, lines: int = 15) -> str:
    """The last lines of a log, for an error message; empty if there is no log."""
    text = log.read_text(errors="replace") if log.exists() else ""
    return "\n".join(text.splitlines()[-lines:])
