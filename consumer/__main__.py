"""`python -m consumer`: runs one consumer of the group, or a command for operators."""

import typer
import uvloop

from consumer.commands import breaker, dead_letters, offsets, topics
from consumer.service import exit_code, run_consumer
from consumer.settings import ConsumerSettings
from schemas.config.logging import configure_logging
from schemas.config.settings import from_environment
from schemas.config.termination import end_on_sigterm

app = typer.Typer(
    help="One consumer of the group: Kafka to PostgreSQL, exactly once.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(offsets.app, name="offsets")
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(breaker.app, name="breaker")
app.add_typer(topics.app, name="topics")


@app.callback(invoke_without_command=True)
def run(context: typer.Context) -> None:
    """Read the topics and write their records until SIGTERM or Ctrl-C. Settings come from the environment (.env.example)."""
    end_on_sigterm()
    if context.invoked_subcommand:
        return
    settings = from_environment(ConsumerSettings)
    configure_logging(settings)
    try:
        uvloop.run(run_consumer(settings))
    except OSError:  # at the start, such as a port that is taken
        raise
    except Exception as error:
        raise typer.Exit(exit_code(error)) from error


if __name__ == "__main__":
    app()
