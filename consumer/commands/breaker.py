"""`python -m consumer breaker`: topics that are not read because most of their records were refused."""

from typing import Annotated

import typer

from consumer.commands.common import Refused, Topic, connect, run, table
from consumer.settings import ConsumerSettings
from sql.queries import queries

app = typer.Typer(no_args_is_help=True, help="Topics that are stopped because most of their records were refused.")


@app.command()
def show() -> None:
    """Which topics are stopped, since when and why."""

    async def read(settings: ConsumerSettings) -> list[tuple[object, ...]]:
        connection = await connect(settings)
        try:
            return [
                (row["topic"], row["state"], row["changed_at"], row["detail"])
                async for row in queries.breakers(connection, consumer_group=settings.kafka_group_id)
            ]
        finally:
            await connection.close()

    rows = run(read)
    typer.echo(table(("topic", "state", "since", "detail"), rows) if rows else "every topic is read")


@app.command()
def close(
    topic: Topic,
    let_through: Annotated[
        bool,
        typer.Option(
            help="the refused records shall become dead letters, until the share is low again; "
            "without it, reading stops again when most are still refused"
        ),
    ] = False,
) -> None:
    """Read a topic again, within two seconds. Nothing was lost: it continues where it stopped."""

    async def change(settings: ConsumerSettings) -> None:
        connection = await connect(settings)
        query = queries.let_through if let_through else queries.close_breaker
        try:
            if await query(connection, consumer_group=settings.kafka_group_id, topic=topic) is None:
                raise Refused(f"{topic} is not stopped; nothing was changed")
        finally:
            await connection.close()

    run(change)
    typer.echo(f"{topic} is read again" + (", refused records become dead letters" if let_through else ""), err=True)
