"""The file of API keys on the disk: read whole, changed by one writer at a time, replaced in one step."""

import fcntl
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from api.auth.api_keys import NONE, ApiKeys, InvalidKeys, dump, parse

LARGEST: Final = 16 * 1024 * 1024  # about 40,000 keys; more is a mistake
NEW_FILE_MODE: Final = 0o600


def read_keys(path: Path) -> ApiKeys:
    """The keys of a file.

    Raises:
        InvalidKeys: it is missing, cannot be read, may be written by anyone, or is not a file of keys.
    """
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise InvalidKeys(f"{path} is not a file")
            if found.st_mode & stat.S_IWOTH:
                raise InvalidKeys(
                    f"{path} may be written by anyone, who could add a key of their own: chmod o-w {path}"
                )
            content = file.read(LARGEST + 1)
    except FileNotFoundError:
        raise InvalidKeys(f"{path} does not exist; python -m api keys create makes it") from None
    except OSError as error:
        raise InvalidKeys(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > LARGEST:
        raise InvalidKeys(f"{path} is larger than {LARGEST} bytes")
    try:
        return parse(content)
    except InvalidKeys as error:
        raise InvalidKeys(f"{path} {error}") from None


def change_keys(path: Path, change: Callable[[ApiKeys], ApiKeys]) -> None:
    """Replace the keys of a file by what `change` makes of them; a missing file is made, readable by its owner alone.

    Readers see the old file or the new one, whole. Of several writers each sees what the one before has written.

    Raises:
        InvalidKeys: the file cannot be used or written; it is as it was before.
    """
    path = Path(os.path.realpath(path))  # a link stays a link
    try:
        with _alone(path.parent):
            keys = change(read_keys(path) if path.exists() else NONE)
            _replace(path, dump(keys))
    except OSError as error:
        raise InvalidKeys(f"{path} cannot be written: {error.strerror}") from None


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Locks the directory: the file itself is another one after each change."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
        os.fsync(handle)  # the new name, too, shall outlive a power cut
    finally:
        os.close(handle)


def _replace(path: Path, content: bytes) -> None:
    before = path.stat() if path.exists() else None
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, NEW_FILE_MODE)
    try:
        with os.fdopen(handle, "wb") as file:
            if before:
                _as_before(file.fileno(), before, path)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _as_before(handle: int, before: os.stat_result, path: Path) -> None:
    """Give a new file the owner, group and mode of the one that it replaces: the service must be able to read it still."""
    with suppress(PermissionError):
        os.fchown(handle, before.st_uid, before.st_gid)
    made = os.fstat(handle)
    if (made.st_uid, made.st_gid) != (before.st_uid, before.st_gid):
        raise InvalidKeys(
            f"{path} belongs to user {before.st_uid} and group {before.st_gid}; written by you it would change hands, and the "
            "service might not read it any more: run this command as that user"
        )
    os.fchmod(handle, stat.S_IMODE(before.st_mode))
