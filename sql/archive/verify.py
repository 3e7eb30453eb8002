"""Archived files read back and compared with their manifest."""

from pathlib import Path

from sql.archive.atomic_files import sha256
from sql.archive.manifest import Archive, ArchivedFile, ArchiveError, Contents


def verify_archive(archive: Archive) -> None:
    """Read every file of a month back and compare it with the manifest.

    Raises:
        ArchiveError: names the first difference.
    """
    for each in archive.manifest.files:
        verify_file(archive.directory / each.file, each)


def verify_file(path: Path, expected: ArchivedFile) -> None:
    """Compare one file with its manifest entry: size, SHA-256, and the contents of its rows.

    Raises:
        ArchiveError: the file cannot be read, or differs.
    """
    try:
        size, found = path.stat().st_size, sha256(path)
    except OSError as error:
        raise ArchiveError(f"{path} cannot be read: {error.strerror}") from error
    if (size, found) != (expected.bytes, expected.sha256):
        raise ArchiveError(
            f"{path} is not what was archived: it has {size} bytes and SHA-256 {found}, the manifest says {expected.bytes} and "
            f"{expected.sha256}. Fetch another copy of it"
        )
    contents = read_contents(path, expected.history)
    if not contents.matches(expected.contents):
        raise ArchiveError(f"{path} holds {contents}, the manifest says {expected.contents}. Fetch another copy of it")


def read_contents(path: Path, history: str) -> Contents:
    """What a Parquet file holds, computed from all of its rows.

    Raises:
        ArchiveError: the file is not Parquet, or is damaged.
    """
    from sql.archive.parquet import ContentsSum, read_batches  # noqa: PLC0415 - pyarrow is slow to load; only archives need it

    contents = ContentsSum(history)
    for batch in read_batches(path):
        contents.add(batch)
    return contents.result()
