"""Does a command line of a document or a manifest exist? `python -m ...` down to each option, and targets of the Makefile.

Placeholders in capitals, dots and square brackets around what may be left out are understood, as usage lines write them.
"""

import importlib
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import typer

ROOT: Final = Path(__file__).parents[1]
FIRST_OF_HELP: Final = {"--help"}


@cache
def make_targets() -> frozenset[str]:
    """What `make` can be asked for."""
    return frozenset(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def wrong_with(line: Sequence[str]) -> str | None:
    """What is wrong with a command line, in words; None when it exists.

    Args:
        line: the words of `python -m module ...` or `make ...`, without variables before them.
    """
    if line[0] == "make":
        asked = [word for word in line[1:] if "=" not in word and not word.startswith("-")]
        unknown = [word for word in asked if word not in make_targets()]
        return f"the Makefile has no target {', '.join(unknown)}" if unknown else None
    module, words = line[2], [word.strip("[]") for word in line[3:]]
    try:
        command = _command(module)
    except ModuleNotFoundError:
        return f"there is no module {module} to run"
    if command is None:  # it reads its environment alone
        return f"python -m {module} takes no arguments" if words else None
    return _walk(command, f"python -m {module}", words)


@cache
def _command(module: str) -> Any:
    """The typer command behind a module that can be run; None when it has none."""
    found = importlib.import_module(f"{module}.__main__")
    app = getattr(found, "app", None)
    if isinstance(app, typer.Typer):
        return typer.main.get_command(app)
    if "typer.run(main)" not in Path(str(found.__file__)).read_text():
        return None
    app = typer.Typer(add_completion=False)
    app.command()(found.main)
    return typer.main.get_command(app)


def _walk(command: Any, name: str, words: list[str]) -> str | None:
    """Follow the words down the commands and options."""
    known = {option: each for each in command.params for option in (*each.opts, *each.secondary_opts)}
    commands = getattr(command, "commands", {})
    rest = list(words)
    while rest:
        word, *rest = rest
        option = word.partition("=")[0]
        if option in known:
            takes_next = "=" not in word and not known[option].is_flag
            rest = rest[1:] if takes_next else rest
        elif word.startswith("--") and option not in FIRST_OF_HELP:
            if "run" in commands:  # the command that is meant where none is named
                return _walk(commands["run"], f"{name} run", [word, *rest])
            return f"{name} has no option {option}"
        elif word in commands:
            return _walk(commands[word], f"{name} {word}", rest)
        elif commands and not _is_placeholder(word):
            return f"{name} has no command {word}"
    return None


def _is_placeholder(word: str) -> bool:
    return word in {"...", "|"} or word.startswith("-") or word.isupper()
