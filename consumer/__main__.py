"""`python -m consumer`: runs one consumer of the group, or a command for operators."""

from typing import Final

import typer
import uvloop

from consumer.commands import breaker, dead_letters, offsets
from consumer.service import run_consumer
from consumer.settings import ConsumerSettings
from consumer.storage.errors import InternalError
from schemas.config.logging import configure_logging
from schemas.config.settings import from_environment

EXIT_SOFTWARE: Final = 70  # as in sysexits.h: an error of this program

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
    except BaseExceptionGroup as group:
        if group.subgroup(InternalError):  # logged where it was found
            raise typer.Exit(EXIT_SOFTWARE) from group
        raise


if __name__ == "__main__":
    app()
