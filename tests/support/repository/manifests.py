"""What compose files and manifests say of our processes, and whether the code agrees."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.repository.commands import wrong_with
from tests.support.repository.configuration import READERS, settings_of

ROOT: Final = Path(__file__).parents[3]
SUFFIXES: Final = ("_total", "_bucket", "_sum", "_count")


@dataclass(frozen=True, slots=True)
class Process:
    """One of our processes, as a file starts it."""

    name: str
    command: list[str]
    environment: frozenset[str]


def faults_of(process: Process) -> list[str]:
    """What the file says and the code does not know: in words, empty when they agree."""
    wrong = wrong_with(process.command) if process.command[:2] == ["python", "-m"] else "it is not python -m ..."
    unknown = process.environment - readable(process.command)
    missing = {name for name in ("DATABASE_URL",) if not {name, f"{name}_FILE"} & process.environment}
    return [
        *([f"{process.name}: {wrong}"] if wrong else []),
        *(f"{process.name}: {name} is no setting of {' '.join(process.command)}" for name in sorted(unknown)),
        *(f"{process.name}: {name} or {name}_FILE must be set" for name in sorted(missing)),
    ]


def readable(command: Iterable[str]) -> frozenset[str]:
    """The settings that a command reads, and NAME_FILE for each secret."""
    line = " ".join(command)
    reader = max((each for each in READERS if line.startswith(each)), key=len)
    settings = settings_of(READERS[reader])
    return frozenset(each.name for each in settings) | {f"{each.name}_FILE" for each in settings if each.secret}


def any_setting() -> frozenset[str]:
    """The settings of all processes."""
    return frozenset[str]().union(*(readable(reader.split()) for reader in READERS))


def unknown_metrics(query: str) -> set[str]:
    """Metrics of ours in a PromQL query that no room defines."""
    source = "\n".join(file.read_text() for room in ("consumer", "api", "sql") for file in (ROOT / room).rglob("*.py"))
    names = set(re.findall(r"\benergy_[a-z_]+", query))
    return {name for name in names if not any(f'"{each}"' in source for each in (name, _stem(name)))}


def _stem(name: str) -> str:
    return next((name.removesuffix(each) for each in SUFFIXES if name.endswith(each)), name)
