"""The manifest of an archived month: which files its directory holds, and what each of them must contain.

<ARCHIVE_DIRECTORY>/2025-09/manifest.json, meter_telemetry_history.parquet, ...
A file under its final name is complete: it was written under a temporary name, synced to disk, read back and compared first.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Final

import msgspec

from sql.archive.atomic_files import atomic_write

MANIFEST_NAME: Final = "manifest.json"
# 1: the columns of the table as they are, in the order of arrival. 2: see columns.py; `ingested_at` to the millisecond.
VERSION: Final = 2
# The archived histories, each with the column whose values are summed to compare a file with its table.
ENERGY_COLUMNS: Final = {
    "meter_telemetry_history": "kwh_consumed_ac",
    "vehicle_telemetry_history": "kwh_delivered_dc",
    "meter_register_history": "kwh_register",
}


class ArchiveError(Exception):
    """An archive is missing, damaged or different from its table; the message says which, and what to do."""


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """What the table of one month holds, as exact figures.

    `energy_mwh` is the sum of each reading's energy (for registers: of the register value), rounded to whole milliwatt-hours
    first, so that the sum does not depend on the order of addition. `fingerprint` is the sum of PostgreSQL's hashes of all rows,
    modulo 2**64; None where it is unknown.
    """

    readings: int
    derived: int
    energy_mwh: int
    first: datetime | None
    last: datetime | None
    fingerprint: int | None = None

    def matches(self, other: "Contents") -> bool:
        """Compares all figures; fingerprints only when both sides have one."""
        if self.fingerprint is None or other.fingerprint is None:
            return self.without_fingerprint() == other.without_fingerprint()
        return self == other

    def without_fingerprint(self) -> "Contents":
        """The figures that can be computed from a Parquet file alone."""
        return msgspec.structs.replace(self, fingerprint=None)


class ArchivedFile(msgspec.Struct, frozen=True, kw_only=True):
    """One Parquet file of a month. `columns` are those of the table; `version` says how the file holds them."""

    history: str
    file: str
    bytes: int
    sha256: str
    columns: list[str]
    contents: Contents
    version: int = 1


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The files of a month and the database they came from.

    `server` is the major version of PostgreSQL that computed the fingerprints. `version` is the highest of the files.
    """

    month: date
    written_at: datetime
    database: str
    server: int
    files: list[ArchivedFile]
    version: int = VERSION


@dataclass(frozen=True, slots=True)
class Archive:
    """A directory and the manifest found in it."""

    directory: Path
    manifest: Manifest


def find_archives(root: Path) -> Iterator[Archive]:
    """Every archived month in or below a directory, oldest first.

    Raises:
        ArchiveError: the directory does not exist, or a manifest is not valid.
    """
    if not root.is_dir():
        raise ArchiveError(f"{root} is not a directory")
    found = [read_manifest(path.parent) for path in sorted(root.rglob(MANIFEST_NAME))]
    yield from sorted(found, key=lambda each: (each.manifest.month, str(each.directory)))


def read_manifest(directory: Path) -> Archive:
    """The manifest in the directory of one month.

    Raises:
        ArchiveError: the manifest cannot be read, or is not valid.
    """
    path = directory / MANIFEST_NAME
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except OSError as error:
        raise ArchiveError(f"{path} cannot be read: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise ArchiveError(f"{path} is not a valid manifest: {error}") from error
    if manifest.version > VERSION:
        raise ArchiveError(f"{path} was written by a newer version of this program: {manifest.version}")
    return Archive(directory, manifest)


def write_manifest(directory: Path, manifest: Manifest) -> None:
    with atomic_write(directory / MANIFEST_NAME) as partial:
        partial.write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")


def choose_directory(root: Path, label: str, taken: set[str]) -> Path:
    """The directory for a month's archive: `2025-09`, or `2025-09-2` and so on when an earlier archive has taken the name."""
    names = (label if number == 1 else f"{label}-{number}" for number in range(1, 1000))
    name: str = next(name for name in names if name not in taken)
    return root / name
