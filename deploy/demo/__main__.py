"""The command `python -m deploy.demo`, which runs the demo until Ctrl-C, or with --smoke until its numbers are checked."""

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
from deploy.demo.month.checks import check_aging, check_folded_days
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
ERRORS: Final = (
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
        bool, typer.Option("--smoke", help="check the numbers and stop; uses free ports and its own data")
    ] = False,
    api_port: Annotated[int, typer.Option(envvar="API_PORT", help="port of the API")] = 3000,
    kafka_port: Annotated[int, typer.Option(envvar="KAFKA_PORT", help="port of Kafka")] = 19092,
    postgres_port: Annotated[int, typer.Option(envvar="POSTGRES_PORT", help="port of PostgreSQL")] = 15432,
) -> None:
    """Run Kafka, PostgreSQL, a fleet of 20,000 devices, two consumers and the API on this machine.

    If KAFKA_BOOTSTRAP_SERVERS or DATABASE_URL is set, the server it names is used instead of a local one.
    """
    try:
        with stopped_by_signals():
            if smoke:
                _smoke()
            else:
                _demo(Ports(kafka_port, postgres_port, api_port, METRICS_PORTS, MAINTAIN_METRICS_PORT))
    except ERRORS as error:
        _report(str(error))
        raise typer.Exit(1) from None


def _demo(ports: Ports) -> None:
    ensure_free(ports.api, "the API", "API_PORT")
    for port in (*ports.metrics, ports.maintain):
        ensure_free(port, "the metrics of a process", "nothing: stop the program that listens there")
    with demo(ROOT / "demo", ports, _report, fresh=False) as running:
        metrics = [f"http://localhost:{port}/metrics" for port in (*ports.metrics, ports.maintain)]
        targets = {
            "consumer": [f"localhost:{port}" for port in ports.metrics],
            "maintain": [f"localhost:{ports.maintain}"],
            "api": [f"localhost:{ports.api}"],
        }
        pages = start_prometheus(running.services.processes, ROOT / "demo" / "prometheus", targets, _report)
        typer.echo(guide(running.api, metrics, pages, write_environment(running.stack), datetime.now(UTC)))
        _report_progress(running)


def _smoke() -> None:
    ports = Ports(None, None, free_port(), (free_port(), free_port()), 0)
    with demo(ROOT / "smoke", ports, _report, fresh=True) as running:
        with httpx.Client(base_url=running.api, timeout=10) as client:
            checks.check_history(client, running.history_end, typer.echo)
            check_folded_days(client, running.folded_before, typer.echo)
            checks.check_faults(client, typer.echo)
            check_aging(client, typer.echo)
        checks.check_posting(running.api, typer.echo)
        checks.check_ledger(running.stack.database_url, typer.echo)
    typer.echo("smoke test passed")


def _report_progress(running: Demo) -> None:
    """Reports the ingestion rate every ten seconds and restarts consumers that have exited. Runs until stopped."""
    before = asyncio.run(_stored(running))
    while True:
        time.sleep(REPORT_SECONDS)
        for name in running.services.restart_exited("consumer-"):
            _report(f"{name} has exited: the other consumer takes over its partitions, and it is restarted")
        running.services.check()
        stored = asyncio.run(_stored(running))
        _report(f"{stored:,} readings stored, {(stored - before) / REPORT_SECONDS:,.0f} a second")
        before = stored


async def _stored(running: Demo) -> int:
    connection = await asyncpg.connect(running.stack.database_url)
    try:
        return int(await connection.fetchval("SELECT sum(records_written) FROM kafka_offsets"))
    finally:
        await connection.close()


def _report(text: str) -> None:
    typer.echo(f"demo: {text}", err=True)


if __name__ == "__main__":
    typer.run(main)
