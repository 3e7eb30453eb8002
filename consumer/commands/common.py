"""What the commands share: settings, a connection, answers for people, and a clear word when something fails."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final, NoReturn, TypeVar

import asyncpg
import typer
from aiokafka.errors import KafkaError

from consumer.settings import ConsumerSettings
from schemas.config.logging import configure_logging
from schemas.config.settings import from_environment
from sql.connection import CONNECTION_ERRORS

T = TypeVar("T")
SETTINGS: Final = {"application_name": "energy-operator", "statement_timeout": "60s"}

Topic = Annotated[str, typer.Argument(help="a topic")]
Partition = Annotated[int, typer.Argument(min=0, help="one of its partitions")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="do not ask")]


class Refused(Exception):  # noqa: N818 - an answer, not a failure
    """What was asked for is not done; the message says why and what to do."""


def run(command: Callable[[ConsumerSettings], Awaitable[T]]) -> T:
    """Run a command; what goes wrong is one line on stderr and exit code 1."""
    settings = from_environment(ConsumerSettings)
    configure_logging(settings)
    try:
        return asyncio.run(_await(command(settings)))
    except Refused as refused:
        _fail(str(refused))
    except asyncpg.InsufficientPrivilegeError as error:
        _fail(f"{error}; run this command as the owner of the schema")
    except asyncpg.PostgresError as error:
        _fail(f"the database has refused: {error}")
    except KafkaError as error:
        _fail(f"Kafka at {settings.kafka_bootstrap_servers} does not answer: {error}")
    except CONNECTION_ERRORS as error:
        _fail(f"the database does not answer: {error}")


async def _await(awaitable: Awaitable[T]) -> T:
    return await awaitable


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(1)


async def connect(settings: ConsumerSettings) -> Any:
    """A connection for one command."""
    return await asyncpg.connect(settings.database_url.get_secret_value(), timeout=10, server_settings=SETTINGS)


def confirm(what: str, *, yes: bool) -> None:
    """Say what will happen and go on when the operator agrees."""
    typer.echo(what, err=True)
    if not yes and not typer.confirm("Go on?", err=True):
        raise typer.Exit(1)


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Columns for people."""
    cells = [list(header), *([_text(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def _text(cell: Any) -> str:
    if cell is None:
        return "-"
    return cell.astimezone(UTC).isoformat(timespec="seconds") if isinstance(cell, datetime) else str(cell)
