"""`python -m consumer topics`: the command that creates the topics of the settings."""

from typing import Annotated

import typer

from consumer.commands.runner import retry_kafka, run
from consumer.kafka.topics import create_topics
from consumer.settings import ConsumerSettings
from consumer.topic_registry import record_types_by_topic

app = typer.Typer(no_args_is_help=True, help="Kafka topics. No process creates one by itself.")


@app.callback()
def _commands() -> None:
    """Makes `create` a subcommand although it is the only one."""


@app.command()
def create(
    partitions: Annotated[
        int, typer.Option(min=1, help="of each new topic: as many consumers can share its records")
    ] = 8,
    replication_factor: Annotated[int, typer.Option(min=1, help="brokers that hold each partition")] = 1,
) -> None:
    """Create the topics of the settings that do not exist yet. Existing topics are not changed."""

    @retry_kafka
    async def missing(settings: ConsumerSettings) -> list[str]:
        topics = [*record_types_by_topic(settings), settings.kafka_alert_topic]
        return await create_topics(settings, topics, partitions=partitions, replication_factor=replication_factor)

    created = run(missing)
    typer.echo(f"created {', '.join(created)}" if created else "all topics exist", err=True)
