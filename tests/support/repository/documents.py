"""The project's Markdown as the tests read it: fences and their marks, inline commands, links and anchors.

How a document marks its commands:

    ```sh run       every line is looked up (make targets, `python -m` commands down to the options, curl's paths) and
                    executed, all of a document in order, on a real Kafka and PostgreSQL
    <!-- not run here: reason -->      on the line before a fence: looked up as far as we know the commands, and not
                    executed; the reason stands where people read it

A fence of shell is one or the other.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[3]
PLACES: Final = (
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
    """A block between two fences: what its first line says (`sh run`), its text, its first line's number."""

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
    """All Markdown files, as paths from the project's root."""
    found = {file for place in PLACES for file in ROOT.glob(place)}
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
            text = "\n".join(
                each.strip() if each.startswith(" ") and language in SHELLS else each
                for each in lines[start : number - 1]
            )
            found.append(Fence(document, start, language, "run" in words, before[1] if before else None, text))
            opened = None
    if opened is not None:
        raise AssertionError(f"{document}:{opened[0]}: this fence is never closed")
    return tuple(found)


@cache
def prose(document: str) -> str:
    """A document without its fences, its lines where they were."""
    inside, kept = False, []
    for line in (ROOT / document).read_text().splitlines():
        fence = bool(_FENCE.match(line))
        kept.append("" if fence or inside else line)
        inside = inside != fence
    return "\n".join(kept)


def inline_commands(document: str) -> Iterator[str]:
    """Commands of ours between back-ticks in running text."""
    for code in _CODE.findall(prose(document)):
        if code.startswith(("python -m ", "make ")):
            yield code


def links(document: str) -> Iterator[str]:
    """Targets of links within the project."""
    without_code = _CODE.sub("", prose(document))
    for target in _LINK.findall(without_code):
        if not re.match(r"[a-z]+:", target):
            yield target


@cache
def anchors(document: str) -> frozenset[str]:
    """What can be linked to in a document: its headings, as GitHub names them."""
    names: list[str] = []
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", prose(document), re.MULTILINE):
        text = _LINK.sub(lambda link: link[0][1 : link[0].index("]")], heading).replace("`", "")
        name = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        number = sum(1 for each in names if re.fullmatch(re.escape(name) + r"(-\d+)?", each))
        names.append(f"{name}-{number}" if number else name)
    return frozenset(names)
