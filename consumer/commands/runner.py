"""What every operator command needs: settings, connection, confirmation, tables, and errors as one line."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, Final, NoReturn, TypeVar

import asyncpg
import typer
from aiokafka.errors import KafkaError

from consumer.retry import retry_for
from consumer.settings import ConsumerSettings
from schemas.config.logging import configure_logging
from schemas.config.settings import from_environment
from sql import connection as database
from sql.connection import CONNECTION_ERRORS

T = TypeVar("T")
SESSION_SETTINGS: Final = {"application_name": "energy-operator", "statement_timeout": "60s"}
KAFKA_RETRY_SECONDS: Final = 15.0

Topic = Annotated[str, typer.Argument(help="a topic")]
Partition = Annotated[int, typer.Argument(min=0, help="one of its partitions")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="do not ask for confirmation")]


class CommandError(Exception):
    """The command was not carried out; the message says why and what to do."""


def _may_pass(error: Exception) -> bool:
    return isinstance(error, KafkaError) and error.retriable


# Repeats a coroutine function that only reads from Kafka, for KAFKA_RETRY_SECONDS, while its error may pass: for 9 seconds
# (broker.session.timeout.ms), a broker that has died is named to clients as a leader, as a coordinator and as any broker.
retry_kafka: Final = retry_for(KAFKA_RETRY_SECONDS, _may_pass)


def run(command: Callable[[ConsumerSettings], Awaitable[T]]) -> T:
    """Run a command. An error becomes one line on stderr and exit code 1."""
    settings = from_environment(ConsumerSettings)
    configure_logging(settings)
    try:
        return asyncio.run(_await(command(settings)))
    except CommandError as error:
        _fail(str(error))
    except asyncpg.InsufficientPrivilegeError as error:
        _fail(f"{error}; run this command as the owner of the schema")
    except asyncpg.PostgresError as error:
        _fail(f"the database reported an error: {error}")
    except KafkaError as error:
        waited = f"has not responded for {KAFKA_RETRY_SECONDS:.0f} seconds" if _may_pass(error) else "reported an error"
        _fail(f"Kafka at {settings.kafka_bootstrap_servers} {waited}: {error}")
    except CONNECTION_ERRORS as error:
        _fail(f"the database does not respond: {error}")


async def _await(awaitable: Awaitable[T]) -> T:
    return await awaitable


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(1)


@asynccontextmanager
async def connect(settings: ConsumerSettings) -> AsyncIterator[Any]:
    connection = await database.connect(settings.database_url, server_settings=SESSION_SETTINGS)
    try:
        yield connection
    finally:
        await connection.close()


def confirm(consequences: str, *, yes: bool) -> None:
    """Print what will happen and ask for confirmation, unless `yes`; exit code 1 when the operator declines."""
    typer.echo(consequences, err=True)
    if not yes and not typer.confirm("Continue?", err=True):
        raise typer.Exit(1)


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Rows as aligned columns; instants in UTC, None as a dash."""
    cells = [list(header), *([_text(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def _text(cell: Any) -> str:
    if cell is None:
        return "-"
    return cell.astimezone(UTC).isoformat(timespec="seconds") if isinstance(cell, datetime) else str(cell)
