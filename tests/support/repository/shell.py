"""Shell in documents: split into simple commands, and each command looked up."""

import re
import shlex
from collections.abc import Iterator
from functools import cache
from typing import Final
from urllib.parse import urlsplit

from api.app import create_app
from api.settings import ApiSettings
from tests.support.repository.command_lines import command_error

KEYWORDS: Final = {"until", "while", "if", "then", "else", "do", "!", "time", "exec"}
ENDS: Final = {"done", "fi", "esac", "}"}
# Programs of any shell and of the development environment, which need no look-up.
COMMON_PROGRAMS: Final = {
    ".", "[", "cat", "cd", "chmod", "cp", "date", "echo", "export", "false", "grep", "head", "jq", "kill", "ls", "mkdir", "mv",
    "printf", "protoc", "rm", "sed", "set", "sleep", "sort", "source", "tail", "test", "true", "unset", "wait", "xargs",
}  # fmt: skip
UNDOCUMENTED_PATHS: Final = {"/", "/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"}
HOW_TO_MARK: Final = "write `<!-- not run here: reason -->` on the line before the fence, or choose another language"
NOT_OURS: Final = "is not looked up"
_HERE_DOCUMENT: Final = re.compile(r"<<-?['\"]?(\w+)['\"]?(.*?)\n.*?^\s*\1$", re.DOTALL | re.MULTILINE)
_OF_THE_API: Final = re.compile(r"(https?://)?(127\.0\.0\.1|localhost|\$\w+|[A-Z]+)(:\w+)?(/|$)")
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
_PYTHON: Final = re.compile(r"(\.venv/bin/)?python3?(\.\d+)?")


def commands(text: str) -> Iterator[list[str]]:
    """The simple commands of a script, as words, without assignments before them, redirections and keywords.

    Raises:
        ValueError: the script cannot be parsed (an unclosed quote).
    """
    joined = re.sub(r"\\\n", " ", text)
    whole = _HERE_DOCUMENT.sub(r"\2", joined)
    plain = re.sub(r"\d?>&\d", "", whole)  # 2>&1 is not a word
    lexer = shlex.shlex(plain.replace("\n", "\n;"), posix=True, punctuation_chars=";&|<>()")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in lexer:
        if word and set(word) <= set(";&|()"):
            yield from _simple(words)
            words = []
        else:
            words.append(word)
    yield from _simple(words)


def _simple(words: list[str]) -> Iterator[list[str]]:
    kept: list[str] = []
    skip = False
    for word in words:
        if skip or (word and set(word) <= set("<>")):
            skip = not skip
        elif kept or not (_ASSIGNMENT.fullmatch(word) or word in KEYWORDS or word in ENDS):
            kept.append(word)
    if kept and kept[0] != "for":
        yield kept


def lookup_error(command: list[str]) -> str | None:
    """What is wrong with a simple command, or why it cannot be looked up; None when it exists."""
    first = command[0]
    if first == "make":
        return command_error(command)
    if _PYTHON.fullmatch(first) and command[1:2] == ["-m"] and len(command) > 2:
        return command_error(["python", *command[1:]])
    if (
        _PYTHON.fullmatch(first) and len(command) == 2 and "/" not in command[1]
    ):  # a program that the document has written
        return None
    if first == "curl":
        return next((error for word in command[1:] if (error := _route_error(word))), None)
    return None if first in COMMON_PROGRAMS or first.isupper() else f"whether {first} works {NOT_OURS}: {HOW_TO_MARK}"


def _route_error(word: str) -> str | None:
    """What is wrong with a word that is a URL of the API; None for a known route and for other words."""
    if not (address := _OF_THE_API.match(word)) or ("/" not in word):
        return None
    path = urlsplit("http://x/" + word[address.end() :]).path
    return (
        None
        if path in UNDOCUMENTED_PATHS or any(each.fullmatch(path) for each in _routes())
        else f"the API has no route {path}"
    )


@cache
def _routes() -> tuple[re.Pattern[str], ...]:
    paths = create_app(ApiSettings()).openapi()["paths"]
    return tuple(re.compile(re.sub(r"\{\w+\}", "[^/]+", path)) for path in paths)
