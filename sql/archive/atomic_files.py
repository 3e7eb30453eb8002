"""Files that appear under their final name only when they are complete and on disk."""

import asyncio
import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

PARTIAL_SUFFIX: Final = ".partial"
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
