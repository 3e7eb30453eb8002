"""`python -m sql cells move`: devices and all that is stored of them, from the database of one cell to that of another."""

import asyncio
from pathlib import Path
from typing import Annotated, Final

import typer

from schemas.config.logging import configure_logging
from schemas.config.settings import from_environment
from sql.cells.devices import Selection, selected_groups
from sql.cells.move import copy_ahead, move, open_cells, selection_of
from sql.cells.portion import Moved, MoveError
from sql.commands.progress import INTERRUPTED, fail, progress
from sql.connection import DATABASE_ERRORS
from sql.settings import MoveSettings

AGAIN: Final = "run the command again to continue"
app = typer.Typer(help="Cells of a fleet (docs/recipes/move.md).", no_args_is_help=True)


@app.callback()
def _cells() -> None:
    """Keeps `move` a command of its own, because Typer would otherwise leave its name out."""


@app.command("move")
def move_devices(
    first: Annotated[str | None, typer.Option(help="the first id of a range of vehicles and meters")] = None,
    last: Annotated[str | None, typer.Option(help="the last id of the range")] = None,
    devices: Annotated[Path | None, typer.Option(help="a file of ids instead, one to a line")] = None,
    ahead: Annotated[bool, typer.Option("--ahead", help="copy folded days only, and move nothing yet")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print which devices would be moved")] = False,
    discard_conflicts: Annotated[
        bool, typer.Option("--discard-conflicts", help="keep the target's reading where the source has another one")
    ] = False,
    portion: Annotated[int, typer.Option(min=1, help="devices moved at a time")] = 50,
) -> None:
    """Move devices from the cell of DATABASE_URL to that of TARGET_DATABASE_URL; both URLs are of the schema's owner.

    Switch the producers of the devices first. Vehicles and meters that were ever assigned to each other move together.
    A portion is copied, compared, committed in the target and then deleted in the source.
    The command can be interrupted and repeated: it continues.
    """
    try:
        listed = devices.read_text().split() if devices else []
        selection = selection_of(first, last, listed)
        settings = from_environment(MoveSettings)
        configure_logging(settings)
        if settings.target_database_url is None:
            fail("TARGET_DATABASE_URL is not set: the database of the cell that devices are moved to", 2)
        lines = asyncio.run(_move(settings, selection, portion, ahead, dry_run, discard_conflicts))
    except (MoveError, OSError, *DATABASE_ERRORS) as error:
        fail(f"not everything was moved: {error}\nNothing is lost; {AGAIN}", 1)
    except KeyboardInterrupt:
        fail(f"interrupted; {AGAIN}", INTERRUPTED)
    typer.echo("\n".join(lines))


async def _move(
    settings: MoveSettings, selection: Selection, portion: int, ahead: bool, dry_run: bool, discard_conflicts: bool
) -> list[str]:
    assert settings.target_database_url  # noqa: S101 - checked by the command
    async with open_cells(
        settings.database_url,
        settings.target_database_url,
        jitter_kwh=settings.register_jitter_kwh,
        discard_conflicts=discard_conflicts,
    ) as cells:
        if dry_run:
            groups = await selected_groups(cells.source, selection)
            return [f"{' '.join([*group.vehicles, *group.meters])}" for group in groups]
        if ahead:
            copied, readings = await copy_ahead(cells, selection, portion, progress())
            return [f"{copied}: {readings:,} readings copied ahead"]
        moved, contents = await move(cells, selection, portion, progress())
        return [f"{moved} moved", *_contents(contents)]


def _contents(moved: Moved) -> list[str]:
    lines = [
        f"{history}: {contents.readings:,} readings, sum {contents.energy_mwh / 1e6:,.6f} kWh, "
        f"fingerprint {contents.fingerprint:016x}, all of them stored in the target"
        for history, contents in moved.contents.items()
        if contents.readings
    ]
    return [*lines, f"{moved.new:,} of them were new to the target"]
