"""`python -m deploy.demo`: everything on this machine, until Ctrl-C; with --smoke, until the numbers have been checked."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Annotated, Final

import asyncpg
import httpx
import typer

from deploy.demo import checks
from deploy.demo.environment import write_environment
from deploy.demo.hints import guide
from deploy.demo.prometheus import start_prometheus
from deploy.demo.run import Demo, Ports, demo
from deploy.demo.services import ServiceEndedError
from deploy.stack.jars import JarError
from deploy.stack.ports import PortTakenError, ensure_free, free_port
from deploy.stack.processes import ProcessEndedError
from deploy.stack.resolve import ROOT, StackError
from deploy.stack.signals import stopped_by_signals

METRICS_PORTS: Final = (9464, 9465)
MAINTAIN_METRICS_PORT: Final = 9466
REPORT_SECONDS: Final = 10.0
FAULTS: Final = (
    StackError,
    JarError,
    PortTakenError,
    ProcessEndedError,
    ServiceEndedError,
    checks.CheckFailedError,
    TimeoutError,
)


def main(
    smoke: Annotated[
        bool, typer.Option("--smoke", help="check the numbers and stop; on free ports, with data of its own")
    ] = False,
    api_port: Annotated[int, typer.Option(envvar="API_PORT", help="where the API listens")] = 3000,
    kafka_port: Annotated[int, typer.Option(envvar="KAFKA_PORT", help="where Kafka listens")] = 19092,
    postgres_port: Annotated[int, typer.Option(envvar="POSTGRES_PORT", help="where PostgreSQL listens")] = 15432,
) -> None:
    """Kafka, PostgreSQL, a fleet of 20,000 devices, two consumers and the API, all on this machine.

    KAFKA_BOOTSTRAP_SERVERS and DATABASE_URL name servers to use instead of our own.
    """
    try:
        with stopped_by_signals():
            if smoke:
                _smoke()
            else:
                _demo(Ports(kafka_port, postgres_port, api_port, METRICS_PORTS, MAINTAIN_METRICS_PORT))
    except FAULTS as error:
        _say(str(error))
        raise typer.Exit(1) from None


def _demo(ports: Ports) -> None:
    ensure_free(ports.api, "the API", "API_PORT")
    for port in (*ports.metrics, ports.maintain):
        ensure_free(port, "the metrics of a process", "nothing: stop what listens there")
    with demo(ROOT / "demo", ports, _say, fresh=False) as running:
        metrics = [f"http://localhost:{port}/metrics" for port in (*ports.metrics, ports.maintain)]
        targets = {
            "consumer": [f"localhost:{port}" for port in ports.metrics],
            "maintain": [f"localhost:{ports.maintain}"],
            "api": [f"localhost:{ports.api}"],
        }
        pages = start_prometheus(running.services.processes, ROOT / "demo" / "prometheus", targets, _say)
        typer.echo(guide(running.api, metrics, pages, write_environment(running.stack), datetime.now(UTC)))
        _report(running)


def _smoke() -> None:
    ports = Ports(None, None, free_port(), (free_port(), free_port()), 0)
    with demo(ROOT / "smoke", ports, _say, fresh=True) as running:
        with httpx.Client(base_url=running.api, timeout=10) as client:
            checks.history_is_right(client, running.history_end, typer.echo)
            checks.faults_are_found(client, typer.echo)
        checks.posting_works(running.api, typer.echo)
        checks.ledger_adds_up(running.stack.database_url, typer.echo)
    typer.echo("smoke test passed")


def _report(running: Demo) -> None:
    """Say every ten seconds how it goes, until stopped."""
    before = asyncio.run(_stored(running))
    while True:
        time.sleep(REPORT_SECONDS)
        for name in running.services.start_again("consumer-"):
            _say(f"{name} has ended: the other one takes over its partitions, and it is started again")
        running.services.check()
        stored = asyncio.run(_stored(running))
        _say(f"{stored:,} readings stored, {(stored - before) / REPORT_SECONDS:,.0f} a second")
        before = stored


async def _stored(running: Demo) -> int:
    connection = await asyncpg.connect(running.stack.database_url)
    try:
        return int(await connection.fetchval("SELECT sum(records_written) FROM kafka_offsets"))
    finally:
        await connection.close()


def _say(text: str) -> None:
    typer.echo(f"demo: {text}", err=True)


if __name__ == "__main__":
    typer.run(main)
