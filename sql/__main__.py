"""`python -m sql migrate | maintain | assign FILE | archive ... | doctor`: the database's own commands."""

import asyncio
import signal
import sys
from pathlib import Path
from typing import Annotated

import structlog
import typer

from schemas.config.logging import configure_logging
from schemas.config.settings import from_environment
from sql import migrate as migration
from sql.assign import Assignment, AssignmentError, read_assignments, write_assignments
from sql.commands import archive
from sql.commands.doctor import doctor
from sql.connection import DATABASE_FAULTS
from sql.maintenance.database_metrics import EVERY_SECONDS, keep_measuring
from sql.maintenance.metrics import MaintenanceMetrics, serve
from sql.maintenance.scheduler import maintain as rounds
from sql.maintenance.scheduler import maintain_once
from sql.settings import MaintainSettings, SqlSettings

app = typer.Typer(
    help="Schema, housekeeping, health and assignments of the telemetry database (DATABASE_URL).",
    no_args_is_help=True,
)
app.add_typer(archive.app, name="archive")
app.command()(doctor)
log = structlog.get_logger("sql")


@app.command()
def migrate() -> None:
    """Bring the schema to the newest version; waits for the database, safe when two run at once."""
    try:
        asyncio.run(migration.migrate(_settings()))
    except (migration.MigrationError, *DATABASE_FAULTS, ValueError) as error:
        _fail("migration failed", error)
    typer.echo("the schema is up to date", err=True)


@app.command()
def maintain(
    once: Annotated[bool, typer.Option("--once", help="one round; exit code 1 when a task failed")] = False,
) -> None:
    """Housekeeping: partitions, rollups, the fleet's faults and trends, settled dead letters, retention, indexes.

    Runs until stopped. Any number may run: one works, the others stand by.
    """
    settings = from_environment(MaintainSettings)
    configure_logging(settings)
    if once:
        well = asyncio.run(maintain_once(settings, MaintenanceMetrics(), lambda text: typer.echo(text, err=True)))
        raise typer.Exit(0 if well else 1)
    asyncio.run(_maintain(settings))


@app.command()
def assign(
    file: Annotated[
        Path, typer.Argument(help="CSV with the header vehicle_id,meter_id,valid_from,valid_to; - for stdin")
    ],
) -> None:
    """Import which meter measured which vehicle, and when: all lines of the file or none."""
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8-sig")
        assignments = read_assignments(text.splitlines())
        asyncio.run(_assign(_settings(), assignments, f"csv:{file.name}"))
    except (AssignmentError, UnicodeDecodeError, *DATABASE_FAULTS) as error:
        _fail("nothing was imported", error)
    typer.echo(f"{len(assignments)} assignments are stored", err=True)


async def _assign(settings: SqlSettings, assignments: list[Assignment], origin: str) -> None:
    connection = await migration.connect(settings)
    try:
        await write_assignments(connection, assignments, origin)
    finally:
        await connection.close()


async def _maintain(settings: MaintainSettings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    metrics = MaintenanceMetrics()
    log.info(
        "maintenance_started",
        metrics_port=serve(metrics, settings.maintain_metrics_host, settings.maintain_metrics_port),
    )
    every = min(EVERY_SECONDS, settings.maintain_interval_seconds)
    measuring = asyncio.create_task(keep_measuring(settings.database_url, metrics.state, every), name="measure")
    try:
        await rounds(settings, stop, metrics)
    finally:
        measuring.cancel()


def _settings() -> SqlSettings:
    settings = from_environment(SqlSettings)
    configure_logging(settings)
    return settings


def _fail(what: str, error: Exception) -> None:
    typer.echo(f"{what}: {error}", err=True)
    raise typer.Exit(1) from None


if __name__ == "__main__":
    app()
