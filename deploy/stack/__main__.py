"""The command `python -m deploy.stack`, which runs a local Kafka and PostgreSQL."""

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
    kafka_port: Annotated[int, typer.Option(envvar="KAFKA_PORT", help="port of Kafka")] = 19092,
    postgres_port: Annotated[int, typer.Option(envvar="POSTGRES_PORT", help="port of PostgreSQL")] = 15432,
    directory: Annotated[Path, typer.Option(help="directory of the data, which is kept")] = resolve.ROOT / "demo",
    partitions: Annotated[
        int | None, typer.Option(min=1, help="create the missing topics, with this number of partitions each")
    ] = None,
) -> None:
    """Run a real Kafka and a real PostgreSQL on this machine until Ctrl-C.

    Prints KAFKA_BOOTSTRAP_SERVERS=... and DATABASE_URL=... once both accept connections. If one of these settings is set, the
    server it names is used instead of a local one. LOCAL_STACK=containers runs both from container images.
    """
    try:
        with (
            stopped_by_signals(),
            resolve.servers(
                directory.resolve(), kafka_port=kafka_port, postgres_port=postgres_port, report=_report
            ) as stack,
        ):
            if partitions:
                asyncio.run(create_topics(stack.kafka_bootstrap_servers, _topics(), partitions=partitions))
            typer.echo(f"KAFKA_BOOTSTRAP_SERVERS={stack.kafka_bootstrap_servers}")
            typer.echo(f"DATABASE_URL={stack.database_url}")
            threading.Event().wait()
    except (resolve.StackError, JarError, PortTakenError, ProcessEndedError, TimeoutError) as error:
        _report(str(error))
        raise typer.Exit(1) from None


def _topics() -> list[str]:
    settings = KafkaSettings()
    return [
        *settings.meter_topics,
        *settings.vehicle_topics,
        *settings.assignment_topics,
        settings.kafka_alert_topic,
        *settings.register_topics,
    ]


def _report(text: str) -> None:
    typer.echo(f"stack: {text}", err=True)


if __name__ == "__main__":
    typer.run(main)
