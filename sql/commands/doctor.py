"""`python -m sql doctor`: health findings as text or JSON, and an exit code for monitoring."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec
import typer

from schemas.config.logging import configure_logging
from schemas.config.settings import from_environment
from sql.connection import DATABASE_ERRORS, connect
from sql.doctor.checks import SESSION, examine
from sql.doctor.server_findings import LEVELS, Finding, worst
from sql.queries import queries
from sql.settings import DoctorSettings

UNREACHABLE: Final = 3  # exit code
MARKS: Final = {"ok": "ok  ", "warn": "WARN", "fail": "FAIL"}


def doctor(
    json: Annotated[bool, typer.Option("--json", help="print one JSON object instead of text")] = False,
    ledger: Annotated[
        bool, typer.Option("--ledger", help="count all rows for the ledger, however long that takes")
    ] = False,
) -> None:
    """Check the health of the database and the engine; changes nothing.

    Exit code 0: healthy; 1: warnings; 2: failures; 3: the database could not be reached.
    """
    settings = from_environment(DoctorSettings)
    configure_logging(settings)
    try:
        server, findings = asyncio.run(_examine(settings, count_rows=ledger))
    except DATABASE_ERRORS as error:
        typer.echo(
            f"the database could not be reached: {error!r}; check DATABASE_URL, and that the server runs", err=True
        )
        raise typer.Exit(UNREACHABLE) from None
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        raise typer.Exit(UNREACHABLE) from None
    typer.echo(as_json(server, findings) if json else as_text(server, findings))
    raise typer.Exit(LEVELS.index(worst(findings)))


async def _examine(settings: DoctorSettings, *, count_rows: bool) -> tuple[Any, list[Finding]]:
    connection = await connect(settings.database_url, server_settings=SESSION)
    try:
        return await queries.check_server(connection), await examine(connection, settings, count_rows=count_rows)
    finally:
        connection.terminate()


def as_json(server: Any, findings: list[Finding]) -> str:
    """One JSON object: level, asked_at, database, standby, server_version, findings (check, level, what, do)."""
    return msgspec.json.encode(
        {
            "level": worst(findings),
            "asked_at": datetime.now(UTC),
            "database": server["database"],
            "standby": server["standby"],
            "server_version": server["version"],
            "findings": findings,
        }
    ).decode()


def as_text(server: Any, findings: list[Finding]) -> str:
    """One line per finding, followed by an indented line of advice where there is any."""
    lines = [f"{server['database']}, PostgreSQL {server['version']}{', a replica' if server['standby'] else ''}"]
    for each in findings:
        lines.append(f"{MARKS[each.level]} {each.check}: {each.what}")
        lines += [f"       -> {each.do}"] if each.do else []
    return "\n".join(lines)
