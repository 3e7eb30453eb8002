"""`python -m deploy.stack`: the local Kafka and PostgreSQL, until Ctrl-C."""

import asyncio
import threading
from pathlib import Path
from typing import Annotated

import typer

from deploy.stack import resolve
from deploy.stack.jars import JarError
from deploy.stack.ports import PortTakenError
from deploy.stack.processes import ProcessEndedError
from deploy.stack.signals import stopped_by_signals
from deploy.stack.topics import create_topics
from schemas.config.settings import KafkaSettings


def main(
    kafka_port: Annotated[int, typer.Option(envvar="KAFKA_PORT", help="where Kafka listens")] = 19092,
    postgres_port: Annotated[int, typer.Option(envvar="POSTGRES_PORT", help="where PostgreSQL listens")] = 15432,
    directory: Annotated[Path, typer.Option(help="where the data lies and stays")] = resolve.ROOT / "demo",
    partitions: Annotated[
        int | None, typer.Option(min=1, help="make the topics that are missing, with so many partitions each")
    ] = None,
) -> None:
    """Run a real Kafka and a real PostgreSQL on this machine, until Ctrl-C.

    Prints KAFKA_BOOTSTRAP_SERVERS=... and DATABASE_URL=... once both answer. A server that either of these settings names is
    used instead of one of our own; LOCAL_STACK=containers takes both from container images.
    """
    try:
        with (
            stopped_by_signals(),
            resolve.servers(directory.resolve(), kafka_port=kafka_port, postgres_port=postgres_port, say=_say) as stack,
        ):
            if partitions:
                asyncio.run(create_topics(stack.kafka_bootstrap_servers, _topics(), partitions=partitions))
            typer.echo(f"KAFKA_BOOTSTRAP_SERVERS={stack.kafka_bootstrap_servers}")
            typer.echo(f"DATABASE_URL={stack.database_url}")
            threading.Event().wait()
    except (resolve.StackError, JarError, PortTakenError, ProcessEndedError, TimeoutError) as error:
        _say(str(error))
        raise typer.Exit(1) from None


def _topics() -> list[str]:
    named = KafkaSettings()
    topics = [
        named.kafka_meter_topic,
        named.kafka_vehicle_topic,
        named.kafka_assignment_topic,
        named.kafka_alert_topic,
        named.kafka_register_topic,
    ]
    return [topic for topic in topics if topic]


def _say(text: str) -> None:
    typer.echo(f"stack: {text}", err=True)


if __name__ == "__main__":
    typer.run(main)
