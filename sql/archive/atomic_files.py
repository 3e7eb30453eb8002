"""Files that appear under their final name only when they are complete and on disk."""

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

PARTIAL_SUFFIX: Final = ".partial"
LOCK_NAME: Final = ".lock"
NO_LOCKS: Final = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)  # of a file system that has none
T = TypeVar("T")


@contextlib.contextmanager
def atomic_write(final: Path) -> Iterator[Path]:
    """A temporary file beside `final`, renamed to it when the block succeeds and the bytes are on disk; removed otherwise."""
    partial = final.with_name(final.name + PARTIAL_SUFFIX)
    try:
        yield partial
        fsync(partial)
        partial.rename(final)
        fsync(final.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def exclusive(directory: Path) -> Iterator[None]:
    """Only one process writes below a directory, which is created if it does not exist.

    A process that was suspended keeps the lock: its session of the database may have ended meanwhile, and what it writes when it
    goes on must not replace the files of another.

    Raises:
        BlockingIOError: another process holds the lock.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / LOCK_NAME
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(
                error.errno, "another process, which may be suspended, writes here", str(path)
            ) from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
        yield


def remove_partial_files(directory: Path) -> None:
    """Remove the temporary files of an export that was killed."""
    for partial in directory.glob(f"*{PARTIAL_SUFFIX}"):
        partial.unlink()


def fsync(path: Path) -> None:
    """Sync a file or directory to disk, and drop a file from the page cache so that reading it back tests the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        if path.is_file() and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def in_thread(work: Callable[[], T]) -> T:
    """Run blocking work in a thread. A cancelled caller still waits for its end, because the thread goes on using the file."""
    working = asyncio.create_task(asyncio.to_thread(work))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait({working})
        raise
