"""Processes as compose files and Kubernetes manifests start them, checked against the code."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from tests.support.repository import ROOT
from tests.support.repository.command_lines import command_error
from tests.support.repository.configuration import READERS, settings_of

SUFFIXES: Final = ("_total", "_bucket", "_sum", "_count")


@dataclass(frozen=True, slots=True)
class Process:
    """A process of this project: its name in the file, its command, and the names of its environment variables."""

    name: str
    command: list[str]
    environment: frozenset[str]


def manifest_errors(process: Process) -> list[str]:
    """Commands and settings that the code does not have, and required settings that are not set; empty when all is right."""
    error = command_error(process.command) if process.command[:2] == ["python", "-m"] else "it is not python -m ..."
    unknown = process.environment - readable(process.command)
    needed = () if "topics" in process.command else ("DATABASE_URL",)
    missing = {name for name in needed if not {name, f"{name}_FILE"} & process.environment}
    return [
        *([f"{process.name}: {error}"] if error else []),
        *(f"{process.name}: {name} is no setting of {' '.join(process.command)}" for name in sorted(unknown)),
        *(f"{process.name}: {name} or {name}_FILE must be set" for name in sorted(missing)),
    ]


def readable(command: Iterable[str]) -> frozenset[str]:
    """The environment variables that a command reads, with NAME_FILE for each secret."""
    line = " ".join(command)
    reader = max((each for each in READERS if line.startswith(each)), key=len)
    settings = settings_of(READERS[reader])
    return frozenset(each.name for each in settings) | {f"{each.name}_FILE" for each in settings if each.secret}


def all_settings() -> frozenset[str]:
    """The environment variables that any process reads."""
    return frozenset[str]().union(*(readable(reader.split()) for reader in READERS))


def unknown_metrics(query: str) -> set[str]:
    """Metrics in a PromQL query that have our prefix and that no process exports."""
    source = "\n".join(
        file.read_text() for package in ("consumer", "api", "sql") for file in (ROOT / package).rglob("*.py")
    )
    names = set(re.findall(r"\benergy_[a-z_]+", query))
    return {name for name in names if not any(f'"{each}"' in source for each in (name, _stem(name)))}


def _stem(name: str) -> str:
    return next((name.removesuffix(each) for each in SUFFIXES if name.endswith(each)), name)
