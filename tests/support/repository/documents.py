"""The Markdown of the repository: code fences and their marks, inline commands, links and anchors.

A document marks each fence of shell in one of two ways:

    ```sh run       A test looks every command up (make targets, `python -m` commands down to the options, paths of curl)
                    and runs the fences of a document in order, on a real Kafka and PostgreSQL.
    <!-- not run here: reason -->      On the line before the fence. A test looks up the commands of this repository
                    and runs nothing.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from textwrap import dedent
from typing import Final

from tests.support.repository import ROOT

PATTERNS: Final = (
    "*.md",
    "docs/**/*.md",
    "deploy/**/*.md",
    "api/**/*.md",
    "consumer/**/*.md",
    "sql/**/*.md",
    "tests/**/*.md",
)
SHELLS: Final = {"sh", "bash", "shell", "console"}
_FENCE: Final = re.compile(r"^ *(```+)(.*)$")
_MARK: Final = re.compile(r"^ *<!-- not run here: (.+) -->$")
_LINK: Final = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE: Final = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True, slots=True)
class Fence:
    """A fenced block: the number of its first line, the words after the fence (`sh run`), the reason not to run it, its text."""

    document: str
    line: int
    language: str
    runs: bool
    reason: str | None
    text: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


@cache
def documents() -> tuple[str, ...]:
    """The Markdown files, as paths relative to the root of the repository."""
    found = {file for pattern in PATTERNS for file in ROOT.glob(pattern)}
    return tuple(sorted(str(file.relative_to(ROOT)) for file in found if "node_modules" not in file.parts))


@cache
def fences(document: str) -> tuple[Fence, ...]:
    """The fences of a document, in order."""
    lines = (ROOT / document).read_text().splitlines()
    found: list[Fence] = []
    opened: tuple[int, str, str] | None = None
    for number, line in enumerate(lines, start=1):
        match = _FENCE.match(line)
        if not match:
            continue
        if opened is None:
            opened = (number, match[1], match[2].strip())
        elif match[1] == opened[1] and not match[2].strip():
            start, _, about = opened
            before = _MARK.match(lines[start - 2]) if start > 1 else None
            language, *words = about.split() or [""]
            text = dedent("\n".join(lines[start : number - 1]))  # of a fence in a list
            found.append(Fence(document, start, language, "run" in words, before[1] if before else None, text))
            opened = None
    if opened is not None:
        raise AssertionError(f"{document}:{opened[0]}: this fence is not closed")
    return tuple(found)


@cache
def prose(document: str) -> str:
    """A document with its fences blanked, so that line numbers stay."""
    inside, kept = False, []
    for line in (ROOT / document).read_text().splitlines():
        fence = bool(_FENCE.match(line))
        kept.append("" if fence or inside else line)
        inside = inside != fence
    return "\n".join(kept)


def inline_commands(document: str) -> Iterator[str]:
    """Commands of this repository between backticks in prose."""
    for code in _CODE.findall(prose(document)):
        if code.startswith(("python -m ", "make ")):
            yield code


def links(document: str) -> Iterator[str]:
    """Link targets inside the repository."""
    without_code = _CODE.sub("", prose(document))
    for target in _LINK.findall(without_code):
        if not re.match(r"[a-z]+:", target):
            yield target


@cache
def anchors(document: str) -> frozenset[str]:
    """The anchors of a document's headings, as GitHub generates them."""
    names: list[str] = []
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", prose(document), re.MULTILINE):
        text = _LINK.sub(lambda link: link[0][1 : link[0].index("]")], heading).replace("`", "")
        name = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        number = sum(1 for each in names if re.fullmatch(re.escape(name) + r"(-\d+)?", each))
        names.append(f"{name}-{number}" if number else name)
    return frozenset(names)
