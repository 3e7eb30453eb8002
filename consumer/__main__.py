"""`python -m consumer`: runs one consumer of the group, or a command for operators."""

from typing import Final

import asyncpg
import structlog
import typer
import uvloop
from aiokafka.errors import KafkaError

from consumer.commands import breaker, dead_letters, offsets
from consumer.kafka.client import ClientStoppedError
from consumer.kafka.static_membership import InstanceIdTakenError
from consumer.service import run_consumer
from consumer.settings import ConsumerSettings
from consumer.storage.errors import describe, is_passing
from schemas.config.logging import configure_logging
from schemas.config.settings import from_environment

log = structlog.get_logger("consumer")

EXIT_SOFTWARE: Final = 70  # as in sysexits.h: an error of this program
NOT_OURS: Final = (ClientStoppedError, InstanceIdTakenError, KafkaError, OSError, asyncpg.ClientConfigurationError)

app = typer.Typer(
    help="One consumer of the group: Kafka to PostgreSQL, exactly once.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(offsets.app, name="offsets")
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(breaker.app, name="breaker")


@app.callback(invoke_without_command=True)
def run(context: typer.Context) -> None:
    """Read the topics and write their records until SIGTERM or Ctrl-C. Settings come from the environment (.env.example)."""
    if context.invoked_subcommand:
        return
    settings = from_environment(ConsumerSettings)
    configure_logging(settings)
    try:
        uvloop.run(run_consumer(settings))
    except Exception as error:
        if internal := _internal_error(error):
            log.critical("internal_error", error=describe(internal), exc_info=error)
            raise typer.Exit(EXIT_SOFTWARE) from error
        raise


def _internal_error(error: Exception) -> Exception | None:
    """The error of our own code that has ended the process, alone or within a group; None when something else has."""
    if isinstance(error, ExceptionGroup):
        return next(filter(None, map(_internal_error, error.exceptions)), None)
    return None if isinstance(error, NOT_OURS) or is_passing(error) else error


if __name__ == "__main__":
    app()
