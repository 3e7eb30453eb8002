"""`python -m sql archive list | verify | restore`: what was dropped, is it whole, and back again."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

from schemas.config.logging import configure_logging
from schemas.config.settings import from_environment
from sql import migrate as migration
from sql.archive import restore as restoring
from sql.archive.manifest import MANIFEST, Archive, ArchiveError, archives, verify
from sql.connection import DATABASE_FAULTS
from sql.settings import MaintainSettings

app = typer.Typer(help="Months that went to ARCHIVE_DIRECTORY before they were dropped.", no_args_is_help=True)
Where = Annotated[
    Path | None, typer.Argument(help="a month's directory, or one that holds several; default: ARCHIVE_DIRECTORY")
]
INTERRUPTED: Final = 130


@app.command("list")
def list_months(where: Where = None) -> None:
    """Each archived file: month, readings, first and last, size. Believes the manifests; `verify` does not."""
    for archive in _found(where):
        for file in archive.manifest.files:
            held = file.contents
            typer.echo(
                f"{archive.directory.name:<10} {file.history:<26} {held.readings:>13,} readings  {held.first} .. {held.last}  "
                f"{file.bytes:>14,} bytes"
            )


@app.command("verify")
def verify_months(where: Where = None) -> None:
    """Read every file back and compare it with its manifest; exit code 1 when one is not what was archived."""
    bad = 0
    for archive in _found(where):
        typer.echo(f"{archive.directory.name}: reading {len(archive.manifest.files)} files", err=True)
        try:
            verify(archive)
        except ArchiveError as error:
            bad += 1
            typer.echo(str(error), err=True)
        except KeyboardInterrupt:
            _end("interrupted", INTERRUPTED)
        else:
            typer.echo(f"{archive.directory.name}: good")
    raise typer.Exit(1 if bad else 0)


@app.command("restore")
def restore_months(where: Where = None) -> None:
    """Bring months back into tables of the schema `archive`, a month whole or not at all.

    The tables stand beside the live ones, and nothing looks at them by itself: drop them when they are no longer needed.
    """
    found = _found(where)
    try:
        asyncio.run(_restore(found))
    except ArchiveError as error:
        _end(str(error), 1)
    except DATABASE_FAULTS as error:
        _end(f"nothing more was restored: {error!r}", 1)
    except KeyboardInterrupt:
        _end("interrupted: the month under way was not restored, those before it were", INTERRUPTED)


async def _restore(found: list[Archive]) -> None:
    connection = await migration.connect(from_environment(MaintainSettings))
    try:
        for archive in found:
            for table in await restoring.restore(connection, archive, _progress()):
                typer.echo(table)
    finally:
        connection.terminate()


def _progress() -> Callable[[str], None]:
    """Every hundredth word, or all where one line can be written over."""
    said = 0

    def say(text: str) -> None:
        nonlocal said
        said += 1
        if sys.stderr.isatty():
            typer.echo(f"\r\033[K{text}", err=True, nl=False)
        elif said % 100 == 0:
            typer.echo(text, err=True)

    return say


def _found(where: Path | None) -> list[Archive]:
    settings = from_environment(MaintainSettings)
    configure_logging(settings)
    root = where or settings.archive_directory
    if root is None:
        _end("name a directory, or set ARCHIVE_DIRECTORY", 2)
    try:
        found = list(archives(root.parent if root.name == MANIFEST else root))
    except ArchiveError as error:
        _end(str(error), 1)
    if not found:
        _end(f"no archived month at {root}", 1)
    return found


def _end(why: str, code: int) -> NoReturn:
    typer.echo(why, err=True)
    raise typer.Exit(code)
