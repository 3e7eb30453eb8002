"""`python -m sql export`: readings of any period as a CSV or Parquet file."""

import asyncio
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from schemas.config.extras import missing_archive
from schemas.config.logging import configure_logging
from schemas.config.settings import from_environment
from sql.archive.extract import CSV, PARQUET, extract
from sql.archive.manifest import ArchiveError
from sql.archive.source import Source
from sql.commands.progress import INTERRUPTED, fail, progress
from sql.connection import DATABASE_ERRORS, READ_ONLY, connect
from sql.settings import SqlSettings

SESSION: Final = READ_ONLY | {"application_name": "energy-export"}


class Readings(StrEnum):
    """What is exported."""

    METERS = "meters"
    VEHICLES = "vehicles"
    REGISTERS = "registers"


HISTORIES: Final = {
    Readings.METERS: "meter_telemetry_history",
    Readings.VEHICLES: "vehicle_telemetry_history",
    Readings.REGISTERS: "meter_register_history",
}


def export(
    readings: Annotated[Readings, typer.Argument(help="which readings")],
    file: Annotated[Path, typer.Argument(help="the file to write, whose name ends with .csv or .parquet")],
    opens: Annotated[
        datetime, typer.Option("--from", help="first instant, such as 2026-02-09 or 2026-02-09T15:30:00; UTC")
    ],
    closes: Annotated[datetime, typer.Option("--to", help="the instant after the last; UTC")],
    device: Annotated[list[str] | None, typer.Option(help="id of a device, may be repeated; default: all")] = None,
) -> None:
    """Export readings in the order of device and instant. A reader's DATABASE_URL suffices; memory is bounded."""
    period = opens.replace(tzinfo=UTC), closes.replace(tzinfo=UTC)
    if file.suffix not in (CSV, PARQUET):
        fail(f"{file}: the name must end with {CSV} or {PARQUET}", 2)
    if file.suffix == PARQUET and (problem := missing_archive("Parquet")):
        fail(problem, 2)
    if period[0] >= period[1]:
        fail("--from must be before --to", 2)
    settings = from_environment(SqlSettings)
    configure_logging(settings)
    try:
        asyncio.run(_export(settings, Source.of_days(HISTORIES[readings], *period), device, file))
    except (ArchiveError, OSError, *DATABASE_ERRORS) as error:
        fail(f"nothing was exported: {error}", 1)
    except KeyboardInterrupt:
        fail("interrupted: no file was written", INTERRUPTED)
    typer.echo(str(file))


async def _export(settings: SqlSettings, source: Source, devices: list[str] | None, file: Path) -> None:
    connection = await connect(settings.database_url, server_settings=SESSION)
    try:
        await extract(connection, source, devices, file, progress())
    finally:
        connection.terminate()
