"""Checks of command lines in documents and manifests: `python -m ...` down to each option, and targets of the Makefile.

The notation of usage lines is understood: placeholders in capitals, dots, square brackets around optional words.
"""

import importlib
import re
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import typer

from tests.support.repository import ROOT

PACKAGES: Final = {"schemas", "sql", "consumer", "api", "deploy", "tests"}
OTHER_MODULES: Final = {"pytest", "venv", "pip"}


@cache
def make_targets() -> frozenset[str]:
    """The targets of the Makefile."""
    return frozenset(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def command_error(line: Sequence[str]) -> str | None:
    """What is wrong with a command line; None when the command and its options exist.

    Args:
        line: the words of `python -m module ...` or `make ...`, without variables before them.
    """
    if line[0] == "make":
        targets = [word for word in line[1:] if "=" not in word and not word.startswith("-")]
        unknown = [word for word in targets if word not in make_targets()]
        return f"the Makefile has no target {', '.join(unknown)}" if unknown else None
    in_words = re.sub(r"\[(?!-)[^\]]*\]", "", " ".join(line[3:]))  # [the same options]
    module, words = line[2], [word.strip("[]") for word in in_words.split()]
    if module.partition(".")[0] not in PACKAGES:
        return None if module in OTHER_MODULES else f"whether python -m {module} works is not looked up"
    try:
        command = _command(module)
    except ModuleNotFoundError:
        return f"there is no module {module} to run"
    if command is None:  # without typer, all that can be checked is whether it takes arguments at all
        return f"python -m {module} takes no arguments" if words and not _reads_arguments(module) else None
    return _walk(command, f"python -m {module}", words)


@cache
def _entry(module: str) -> ModuleType:
    """The module that `python -m module` runs."""
    package = (
        find_spec(f"{module}.__main__") if getattr(find_spec(module), "submodule_search_locations", None) else None
    )
    return importlib.import_module(f"{module}.__main__" if package else module)


@cache
def _command(module: str) -> Any:
    """The typer command of a module; None when it does not use typer."""
    entry = _entry(module)
    app = getattr(entry, "app", None)
    if isinstance(app, typer.Typer):
        return typer.main.get_command(app)
    if "typer.run(main)" not in _source(module):
        return None
    app = typer.Typer(add_completion=False)
    app.command()(entry.main)
    return typer.main.get_command(app)


def _reads_arguments(module: str) -> bool:
    return "sys.argv" in _source(module) or "argparse" in _source(module)


def _source(module: str) -> str:
    return Path(str(_entry(module).__file__)).read_text()


def _walk(command: Any, name: str, words: list[str]) -> str | None:
    """Follows the words through subcommands and options; returns what is wrong with the first that does not exist."""
    options = {option: each for each in command.params for option in (*each.opts, *each.secondary_opts)}
    commands = getattr(command, "commands", {})
    takes_words = any(each.param_type_name == "argument" for each in command.params)
    rest = list(words)
    while rest:
        word, *rest = rest
        option = word.partition("=")[0]
        if option in options:
            takes_next = "=" not in word and not options[option].is_flag
            rest = rest[1:] if takes_next else rest
        elif word.startswith("--") and option != "--help":
            if "run" in commands:  # the default command
                return _walk(commands["run"], f"{name} run", [word, *rest])
            return f"{name} has no option {option}"
        elif word in commands:
            return _walk(commands[word], f"{name} {word}", rest)
        elif not _is_placeholder(word) and not takes_words:
            return f"{name} has no command {word}" if commands else f"{name} takes no {word}"
    return None


def _is_placeholder(word: str) -> bool:
    return word in {"...", "|"} or word.startswith("-") or word.isupper()
