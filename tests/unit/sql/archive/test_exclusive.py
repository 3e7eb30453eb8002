"""Only one process writes into an archive directory."""

import errno
import fcntl
from pathlib import Path
from typing import Any

import pytest

from sql.archive.atomic_files import exclusive


def test_a_second_process_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    directory = tmp_path / "archive"
    with exclusive(directory), pytest.raises(BlockingIOError, match=r"another process.* writes here: .*archive/\.lock"):
        exclusive(directory).__enter__()
    with exclusive(directory):
        pass


def test_a_file_system_without_locks_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with exclusive(tmp_path):
        pass


def test_another_error_of_the_lock_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise OSError(errno.EIO, "the disk fails")

    monkeypatch.setattr(fcntl, "flock", fails)
    with pytest.raises(OSError, match="the disk fails"), exclusive(tmp_path):
        pytest.fail("not locked")
