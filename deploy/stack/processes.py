"""Children that never outlive us: each is stopped in order when we end, and by the guard when we cannot."""

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

PATIENCE_SECONDS: Final = 15.0
GUARD: Final = Path(__file__).with_name("reaper.py")


class ProcessEndedError(Exception):
    """A child ended that should have stayed; the message carries the end of its log."""


class Processes:
    """Starts children in sessions of their own, so that Ctrl-C in a terminal reaches only us and we stop them in order."""

    def __init__(self) -> None:
        self._children: list[tuple[psutil.Popen, signal.Signals]] = []
        self._guard: subprocess.Popen[bytes] | None = None
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
        """Start a child.

        Args:
            command: program and arguments.
            log: file that takes stdout and stderr; without one they go where ours go.
            env: its environment; ours without one.
            user: account to run as, when we are root.
            cwd: its working directory.
            stop_with: the signal that ends it in an orderly way.
        """
        with self._starting, contextlib.ExitStack() as stack:
            guard = self._ensure_guard()
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
            guard.write(f"{child.pid} {child.create_time()!r} {int(stop_with)}\n".encode())
            guard.flush()
            self._children.append((child, stop_with))
        return child

    def stop(self, child: psutil.Popen, patience: float = PATIENCE_SECONDS) -> int:
        """Ask a child to end, and end it when it does not within `patience` seconds; its exit code."""
        stop_with = next(number for each, number in self._children if each is child)
        if child.poll() is None:
            child.send_signal(stop_with)
            try:
                child.wait(patience)
            except (subprocess.TimeoutExpired, psutil.TimeoutExpired):
                child.kill()
        return int(child.wait())

    def kill(self, child: psutil.Popen) -> None:
        """End a child as a crash would: SIGKILL, to it and to what it has started itself."""
        with contextlib.suppress(psutil.NoSuchProcess):
            family = [*child.children(recursive=True), child]
            for each in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()
        child.wait()

    def close(self) -> None:
        """Stop all children, the last one first, then the guard."""
        for child, _ in reversed(self._children):
            self.stop(child)
        self._children.clear()
        if self._guard and self._guard.stdin:
            self._guard.stdin.close()
            self._guard.wait(PATIENCE_SECONDS)
            self._guard = None

    def _ensure_guard(self) -> IO[bytes]:
        if self._guard is None:
            self._guard = subprocess.Popen(
                [sys.executable, str(GUARD)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            )
        if self._guard.stdin is None:
            raise RuntimeError("the guard has no stdin")
        return self._guard.stdin


def end_of(log: Path, lines: int = 15) -> str:
    """The last lines of a log, for the message of an error."""
    text = log.read_text(errors="replace") if log.exists() else ""
    return "\n".join(text.splitlines()[-lines:])
