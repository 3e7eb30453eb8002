"""Command line of the database: `python -m sql migrate | maintain | assign FILE | archive | cells | export | doctor`."""

import asyncio
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from schemas.config.logging import configure_logging
from schemas.config.settings import from_environment
from schemas.config.termination import end_on_sigterm
from sql import migrate as migration
from sql.assign import Assignment, AssignmentError, read_assignments, write_assignments
from sql.commands import archive, cells
from sql.commands.doctor import doctor
from sql.commands.export import export
from sql.connection import DATABASE_ERRORS
from sql.maintenance import scheduler
from sql.maintenance.database_metrics import INTERVAL_SECONDS, keep_measuring
from sql.maintenance.metrics import MaintenanceMetrics, serve
from sql.settings import MaintainSettings, SqlSettings

app = typer.Typer(
    help="Schema, maintenance, health and assignments of the telemetry database (DATABASE_URL).",
    no_args_is_help=True,
    callback=end_on_sigterm,
)
app.add_typer(archive.app, name="archive")
app.add_typer(cells.app, name="cells")
app.command()(doctor)
app.command()(export)


@app.command()
def migrate() -> None:
    """Apply pending migrations and create partitions. Waits for the database; safe to run concurrently."""
    try:
        asyncio.run(migration.migrate(_settings()))
    except (migration.MigrationError, *DATABASE_ERRORS, ValueError) as error:
        _fail("migration failed", error)
    typer.echo("the schema is up to date", err=True)


@app.command()
def maintain(
    once: Annotated[bool, typer.Option("--once", help="run one round; exit code 1 when a task failed")] = False,
) -> None:
    """Run maintenance: partitions, rollups, fleet evaluation, trends, merging, dead letters, statistics, folding, retention.

    Runs until stopped. Any number of processes may run: one works, the others stand by.
    """
    settings = from_environment(MaintainSettings)
    configure_logging(settings)
    if once:
        succeeded = asyncio.run(
            scheduler.maintain_once(settings, MaintenanceMetrics(), lambda line: typer.echo(line, err=True))
        )
        raise typer.Exit(0 if succeeded else 1)
    asyncio.run(_maintain(settings))


@app.command()
def assign(
    file: Annotated[
        Path, typer.Argument(help="CSV with the header vehicle_id,meter_id,valid_from,valid_to; - for stdin")
    ],
) -> None:
    """Import vehicle-meter assignments from a CSV file: all lines or none."""
    try:
        content = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        assignments = read_assignments(content.decode("utf-8-sig").splitlines())
        asyncio.run(_assign(_settings(), assignments, f"csv:{file.name}"))
    except (AssignmentError, UnicodeDecodeError, *DATABASE_ERRORS) as error:
        _fail("nothing was imported", error)
    typer.echo(f"{len(assignments)} assignments stored", err=True)


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
    scheduler.log.info(
        "maintenance_started",
        metrics_port=serve(metrics, settings.maintain_metrics_host, settings.maintain_metrics_port),
    )
    interval = min(INTERVAL_SECONDS, settings.maintain_interval_seconds)
    measuring = asyncio.create_task(
        keep_measuring(settings.database_url, metrics.state, settings.fold_after_days, interval), name="measure"
    )
    try:
        await scheduler.maintain(settings, stop, metrics)
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
