"""`python -m sql doctor`: the findings in words or as JSON, and an exit code for monitoring."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import asyncpg
import msgspec
import typer

from schemas.config.logging import configure_logging
from schemas.config.settings import from_environment
from sql.connection import DATABASE_FAULTS
from sql.doctor.checks import SESSION, examine
from sql.doctor.server_findings import LEVELS, Finding, worst
from sql.queries import queries
from sql.settings import DoctorSettings

CANNOT_ASK: Final = 3
SIGNS: Final = {"ok": "ok  ", "warn": "WARN", "fail": "FAIL"}


def doctor(
    json: Annotated[bool, typer.Option("--json", help="one JSON object instead of words")] = False,
    ledger: Annotated[
        bool, typer.Option("--ledger", help="count all rows for the ledger, however long it takes")
    ] = False,
) -> None:
    """The health of the database in words; changes nothing.

    Exit code 0: all is well; 1: there are warnings; 2: there are failures; 3: the database could not be asked.
    """
    settings = from_environment(DoctorSettings)
    configure_logging(settings)
    try:
        about, found = asyncio.run(_examine(settings, count_rows=ledger))
    except DATABASE_FAULTS as error:
        typer.echo(f"the database could not be asked: {error!r}; see DATABASE_URL, and that it runs", err=True)
        raise typer.Exit(CANNOT_ASK) from None
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        raise typer.Exit(CANNOT_ASK) from None
    typer.echo(as_json(about, found) if json else as_text(about, found))
    raise typer.Exit(LEVELS.index(worst(found)))


async def _examine(settings: DoctorSettings, *, count_rows: bool) -> tuple[Any, list[Finding]]:
    connection = await asyncpg.connect(settings.database_url.get_secret_value(), timeout=10, server_settings=SESSION)
    try:
        return await queries.ask_server(connection), await examine(connection, settings, count_rows=count_rows)
    finally:
        connection.terminate()


def as_json(about: Any, found: list[Finding]) -> str:
    """One object: level, asked_at, database, standby, server_version, findings (check, level, what, do)."""
    return msgspec.json.encode(
        {
            "level": worst(found),
            "asked_at": datetime.now(UTC),
            "database": about["database"],
            "standby": about["standby"],
            "server_version": about["version"],
            "findings": found,
        }
    ).decode()


def as_text(about: Any, found: list[Finding]) -> str:
    """A line a finding, what to do below it."""
    lines = [f"{about['database']}, PostgreSQL {about['version']}{', a replica' if about['standby'] else ''}"]
    for each in found:
        lines.append(f"{SIGNS[each.level]} {each.check}: {each.what}")
        lines += [f"       -> {each.do}"] if each.do else []
    return "\n".join(lines)
