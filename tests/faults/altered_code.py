"""A copy of the sources in which texts are replaced: a safeguard is removed, or a mistake is made."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.repository import ROOT

PACKAGES: Final = ("schemas", "sql", "consumer", "api")
MIGRATE_DOWN: Final = "-- migrate:down"


@dataclass(frozen=True, slots=True)
class Replacement:
    """`original` stands in `file` (a path from the root of the repository) exactly once, without a migration's way back."""

    file: str
    original: str
    replacement: str

    def apply(self, text: str) -> str:
        """The text of the file with the replacement.

        Raises:
            ValueError: the file has changed.
        """
        forwards, separator, back = text.partition(MIGRATE_DOWN)
        if forwards.count(self.original) != 1:
            raise ValueError(f"{self.file} has {self.original!r} {forwards.count(self.original)} times instead of once")
        return forwards.replace(self.original, self.replacement) + separator + back


def altered_copy(directory: Path, replacements: Iterable[Replacement]) -> Path:
    """Copy the packages of the product into a new directory, make the replacements there, and return it.

    Raises:
        ValueError: a file has changed, so that a replacement does not apply.
    """
    for package in PACKAGES:
        shutil.copytree(ROOT / package, directory / package, ignore=shutil.ignore_patterns("__pycache__"))
    for each in replacements:
        file = directory / each.file
        file.write_text(each.apply(file.read_text()))
    return directory
