"""`python -m consumer breaker`: commands that show and close the circuit breakers of topics."""

from typing import Annotated

import typer

from consumer.commands.runner import CommandError, Topic, connect, run, table
from consumer.settings import ConsumerSettings
from sql.queries import queries

app = typer.Typer(
    no_args_is_help=True,
    help="Circuit breakers: topics that are stopped because most of their records were rejected, or because our own code failed.",
)


@app.command()
def show() -> None:
    """List the topics whose breaker is not closed, since when and why."""

    async def read(settings: ConsumerSettings) -> list[tuple[object, ...]]:
        async with connect(settings) as connection:
            return [
                (row["topic"], row["state"], row["changed_at"], row["detail"])
                async for row in queries.breakers(connection, consumer_group=settings.kafka_group_id)
            ]

    rows = run(read)
    typer.echo(table(("topic", "state", "since", "detail"), rows) if rows else "no topic is stopped")


@app.command()
def close(
    topic: Topic,
    let_through: Annotated[
        bool,
        typer.Option(
            help="accept the rejected records as dead letters until their share is low again; "
            "without it, the topic stops again if most of its records are still rejected"
        ),
    ] = False,
) -> None:
    """Resume a stopped topic within two seconds. No record is lost: reading continues where it stopped."""

    async def change(settings: ConsumerSettings) -> None:
        query = queries.let_through if let_through else queries.close_breaker
        async with connect(settings) as connection:
            if await query(connection, consumer_group=settings.kafka_group_id, topic=topic) is None:
                raise CommandError(f"{topic} is not stopped; nothing was changed")

    run(change)
    typer.echo(f"{topic} resumes" + ("; rejected records become dead letters" if let_through else ""), err=True)
