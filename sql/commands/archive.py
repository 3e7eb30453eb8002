"""`python -m sql archive list | verify | restore`: archived months listed, verified, and restored into the database."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from schemas.config.extras import missing_archive
from schemas.config.logging import configure_logging
from schemas.config.settings import from_environment
from sql import migrate as migration
from sql.archive.manifest import MANIFEST_NAME, Archive, ArchiveError, find_archives
from sql.archive.restore import restore
from sql.archive.verify import verify_archive
from sql.commands.progress import INTERRUPTED, fail, progress
from sql.connection import DATABASE_ERRORS
from sql.settings import MaintainSettings

app = typer.Typer(help="Months archived in ARCHIVE_DIRECTORY before they were dropped.", no_args_is_help=True)
Directory = Annotated[
    Path | None,
    typer.Argument(help="directory of one month or of several; default: ARCHIVE_DIRECTORY"),
]


@app.command("list")
def list_months(where: Directory = None) -> None:
    """List the archived files with readings, first and last reading and size, as their manifests say; verify reads the files."""
    for archive in _find(where):
        for file in archive.manifest.files:
            contents = file.contents
            typer.echo(
                f"{archive.directory.name:<10} {file.history:<26} {contents.readings:>13,} readings  "
                f"{contents.first} .. {contents.last}  "
                f"{file.bytes:>14,} bytes"
            )


@app.command("verify")
def verify_months(where: Directory = None) -> None:
    """Read every file and compare it with its manifest; exit code 1 when one differs from what was archived."""
    failed = False
    for archive in _find(where):
        typer.echo(f"{archive.directory.name}: reading {len(archive.manifest.files)} files", err=True)
        try:
            verify_archive(archive)
        except ArchiveError as error:
            failed = True
            typer.echo(str(error), err=True)
        except KeyboardInterrupt:
            fail("interrupted", INTERRUPTED)
        else:
            typer.echo(f"{archive.directory.name}: good")
    raise typer.Exit(1 if failed else 0)


@app.command("restore")
def restore_months(where: Directory = None) -> None:
    """Restore months into tables of the schema `archive`, each month completely or not at all.

    The engine does not use these tables: query them by hand, and drop them when they are no longer needed.
    """
    found = _find(where)
    try:
        asyncio.run(_restore(found))
    except ArchiveError as error:
        fail(str(error), 1)
    except DATABASE_ERRORS as error:
        fail(f"the restore stopped; completed months are kept: {error!r}", 1)
    except KeyboardInterrupt:
        fail("interrupted: the current month was not restored, completed months are kept", INTERRUPTED)


async def _restore(found: list[Archive]) -> None:
    connection = await migration.connect(from_environment(MaintainSettings))
    try:
        for archive in found:
            for table in await restore(connection, archive, progress()):
                typer.echo(table)
    finally:
        connection.terminate()


def _find(where: Path | None) -> list[Archive]:
    settings = from_environment(MaintainSettings)
    configure_logging(settings)
    if problem := missing_archive("this command"):
        fail(problem, 2)
    root = where or settings.archive_directory
    if root is None:
        fail("give a directory, or set ARCHIVE_DIRECTORY", 2)
    try:
        found = list(find_archives(root.parent if root.name == MANIFEST_NAME else root))
    except ArchiveError as error:
        fail(str(error), 1)
    if not found:
        fail(f"no archived month in {root}", 1)
    return found
