"""The key file on disk: read as a whole, written by one process at a time, replaced atomically."""

import fcntl
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from api.auth.api_keys import NO_KEYS, ApiKeys, InvalidKeys, dump, parse

MAX_FILE_BYTES: Final = 16 * 1024 * 1024  # about 40,000 keys
NEW_FILE_MODE: Final = 0o600


def read_keys(path: Path) -> ApiKeys:
    """Reads a key file.

    Raises:
        InvalidKeys: the file is missing, cannot be read, is writable by everyone, or is not a key file.
    """
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise InvalidKeys(f"{path} is not a regular file")
            if found.st_mode & stat.S_IWOTH:
                raise InvalidKeys(
                    f"{path} is writable by every user of this machine, and any of them could add a key: chmod o-w {path}"
                )
            content = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise InvalidKeys(f"{path} does not exist; create it with python -m api keys create") from None
    except OSError as error:
        raise InvalidKeys(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > MAX_FILE_BYTES:
        raise InvalidKeys(f"{path} is larger than {MAX_FILE_BYTES} bytes")
    try:
        return parse(content)
    except InvalidKeys as error:
        raise InvalidKeys(f"{path} {error}") from None


def change_keys(path: Path, change: Callable[[ApiKeys], ApiKeys]) -> None:
    """Replaces the keys of a file by what `change` returns for them. A missing file is created, readable by its owner only.

    Readers see either the old file or the new one. Concurrent writers take turns, and each sees the changes of the one before.

    Raises:
        InvalidKeys: the file cannot be used or written; it is unchanged.
    """
    path = Path(os.path.realpath(path))  # replaces the target of a symbolic link, not the link
    try:
        with _locked(path.parent):
            keys = change(read_keys(path) if path.exists() else NO_KEYS)
            _replace(path, dump(keys))
    except OSError as error:
        raise InvalidKeys(f"{path} cannot be written: {error.strerror}") from None


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Holds an exclusive lock on the directory. The file cannot carry the lock: every change replaces it."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
        os.fsync(handle)  # makes the rename durable
    finally:
        os.close(handle)


def _replace(path: Path, content: bytes) -> None:
    old = path.stat() if path.exists() else None
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, NEW_FILE_MODE)
    try:
        with os.fdopen(handle, "wb") as file:
            if old:
                _copy_permissions(file.fileno(), old, path)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _copy_permissions(handle: int, old: os.stat_result, path: Path) -> None:
    """Gives a new file the owner, group and mode of the file that it replaces, so that the service can still read it."""
    with suppress(PermissionError):
        os.fchown(handle, old.st_uid, old.st_gid)
    new = os.fstat(handle)
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
        raise InvalidKeys(
            f"{path} belongs to user {old.st_uid} and group {old.st_gid}; this command would change its owner, and the "
            "service might no longer be able to read it: run this command as that user"
        )
    os.fchmod(handle, stat.S_IMODE(old.st_mode))
