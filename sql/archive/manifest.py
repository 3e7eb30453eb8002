"""Archived months on the disk: a directory each, with a Parquet file a history and a manifest that says what must be in it.

<ARCHIVE_DIRECTORY>/2025-09/manifest.json, meter_telemetry_history.parquet, ...
What is written under its final name is whole: it was written aside, forced to the disk, read back and compared before.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Final

import msgspec

MANIFEST: Final = "manifest.json"
ASIDE: Final = ".partial"
ENERGY: Final = {
    "meter_telemetry_history": "kwh_consumed_ac",
    "vehicle_telemetry_history": "kwh_delivered_dc",
    "meter_register_history": "kwh_register",
}


class ArchiveError(Exception):
    """Something of an archive is not as it must be; the message says what, and what to do."""


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """What a month's table holds, as exact figures.

    `energy_mwh` is the sum over all readings of each one's energy in whole milliwatt-hours (of registers, of their stands):
    whole, so that the order of adding cannot matter. `fingerprint` is the sum of PostgreSQL's hashes of all rows, modulo 2**64,
    None where it is not known.
    """

    readings: int
    derived: int
    energy_mwh: int
    first: datetime | None
    last: datetime | None
    fingerprint: int | None = None

    def agrees(self, other: "Contents") -> bool:
        """Whether both are the same; a fingerprint counts when both have one."""
        if self.fingerprint is None or other.fingerprint is None:
            return self.without_fingerprint() == other.without_fingerprint()
        return self == other

    def without_fingerprint(self) -> "Contents":
        """The figures that can be told from a file alone."""
        return msgspec.structs.replace(self, fingerprint=None)


class ArchivedFile(msgspec.Struct, frozen=True, kw_only=True):
    """One Parquet file of a month."""

    history: str
    file: str
    bytes: int
    sha256: str
    columns: list[str]
    contents: Contents


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a month's directory must hold, and where it came from. `server`: the major version, which made the fingerprints."""

    month: date
    written_at: datetime
    database: str
    server: int
    files: list[ArchivedFile]
    version: int = 1


@dataclass(frozen=True, slots=True)
class Archive:
    """A directory and the manifest that was found in it."""

    directory: Path
    manifest: Manifest


def archives(root: Path) -> Iterator[Archive]:
    """Every archived month at or below a directory, the oldest first.

    Raises:
        ArchiveError: the directory is not there, or a manifest cannot be understood.
    """
    if not root.is_dir():
        raise ArchiveError(f"{root} is not a directory")
    found = [read_manifest(path.parent) for path in sorted(root.rglob(MANIFEST))]
    yield from sorted(found, key=lambda each: (each.manifest.month, str(each.directory)))


def read_manifest(directory: Path) -> Archive:
    """The manifest of one month's directory."""
    path = directory / MANIFEST
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except OSError as error:
        raise ArchiveError(f"{path} cannot be read: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise ArchiveError(f"{path} is not a manifest: {error}") from error
    if manifest.version != 1:
        raise ArchiveError(f"{path} was written by a newer version of this program: {manifest.version}")
    return Archive(directory, manifest)


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Put a manifest in its place, whole or not at all."""
    with put_aside(directory / MANIFEST) as aside:
        aside.write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")


def discard(directory: Path) -> None:
    """Remove what a killed export has left aside."""
    for left in directory.glob(f"*{ASIDE}"):
        left.unlink()


@contextlib.contextmanager
def put_aside(final: Path) -> Iterator[Path]:
    """A file to write beside `final`; it takes that name once the block has ended well and its bytes are on the disk."""
    aside = final.with_name(final.name + ASIDE)
    try:
        yield aside
        force(aside)
        aside.rename(final)
        force(final.parent)
    finally:
        aside.unlink(missing_ok=True)


def force(path: Path) -> None:
    """Have the disk keep what was written to a file or directory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        if path.is_file() and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)  # whoever reads it back asks the disk
    finally:
        os.close(descriptor)


def digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(archive: Archive) -> None:
    """Read every file of a month back and compare it with the manifest.

    Raises:
        ArchiveError: the first difference that was found.
    """
    for each in archive.manifest.files:
        verify_file(archive.directory / each.file, each)


def verify_file(path: Path, expected: ArchivedFile) -> None:
    """Compare one file with what the manifest says of it: its bytes, and what they hold."""
    try:
        size, found = path.stat().st_size, digest(path)
    except OSError as error:
        raise ArchiveError(f"{path} cannot be read: {error.strerror}") from error
    if (size, found) != (expected.bytes, expected.sha256):
        raise ArchiveError(
            f"{path} is not what was archived: {size} bytes with SHA-256 {found}, the manifest says {expected.bytes} and "
            f"{expected.sha256}. Fetch another copy of it"
        )
    contents = read_contents(path, expected.history)
    if not contents.agrees(expected.contents):
        raise ArchiveError(f"{path} holds {contents}, the manifest says {expected.contents}. Fetch another copy of it")


def read_contents(path: Path, history: str) -> Contents:
    """What a Parquet file holds, read from its first row to its last.

    Raises:
        ArchiveError: it is no Parquet file, or a broken one.
    """
    from sql.archive.parquet import Tally, batches  # noqa: PLC0415 - pyarrow takes long to load, and only archives need it

    tally = Tally(history)
    for batch in batches(path):
        tally.add(batch)
    return tally.contents()


def place(root: Path, label: str, taken: set[str]) -> Path:
    """The directory for a month: its name, or with a number behind it where an earlier drop of the month has filled that."""
    names = (label if number == 1 else f"{label}-{number}" for number in range(1, 1000))
    name: str = next(name for name in names if name not in taken)
    return root / name
