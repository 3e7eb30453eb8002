"""Progress and failures of commands that run for long."""

import sys
from collections.abc import Callable
from typing import Final, NoReturn

import typer

INTERRUPTED: Final = 130  # exit code
LINES_PER_REPORT: Final = 100  # of progress, where lines cannot be overwritten


def progress() -> Callable[[str], None]:
    """A reporter that overwrites one line on a terminal, and prints every LINES_PER_REPORT-th line elsewhere."""
    count = 0

    def report(line: str) -> None:
        nonlocal count
        count += 1
        if sys.stderr.isatty():
            typer.echo(f"\r\033[K{line}", err=True, nl=False)
        elif count % LINES_PER_REPORT == 0:
            typer.echo(line, err=True)

    return report


def fail(message: str, code: int) -> NoReturn:
    """Ends the command with a message and an exit code."""
    typer.echo(message, err=True)
    raise typer.Exit(code)
