"""The start of the demo: servers -> schema and topics -> processes -> a day of history -> live readings."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import asyncpg
import httpx
from pydantic import SecretStr

from deploy.demo.fleet import HISTORY_HOURS, VEHICLES_WITH_HISTORY, all_assignments
from deploy.demo.services import Services
from deploy.simulator.fleet import vehicle_id
from deploy.stack.processes import Processes
from deploy.stack.resolve import servers
from deploy.stack.servers import Servers
from deploy.stack.topics import create_topics
from schemas.config.settings import KafkaSettings
from sql.assign import write_assignments
from sql.migrate import migrate
from sql.settings import SqlSettings

Report = Callable[[str], None]
PARTITIONS: Final = 8
TIMEOUT_SECONDS: Final = 180.0
MARGIN_HOURS: Final = 0.1  # the day of the query ends at the start of the current minute


@dataclass(frozen=True, slots=True)
class Ports:
    """Ports of the demo. For `kafka` and `postgres` None chooses a free port, for `maintain` 0 does."""

    kafka: int | None
    postgres: int | None
    api: int
    metrics: tuple[int, int]
    maintain: int


@dataclass(frozen=True, slots=True)
class Demo:
    """A running demo with a day of history up to `history_end`. `api` is the API's address."""

    stack: Servers
    services: Services
    api: str
    history_end: datetime


@contextmanager
def demo(directory: Path, ports: Ports, report: Report, *, fresh: bool) -> Iterator[Demo]:
    """Starts everything and waits until a day of history is stored and all vehicles are evaluated. Stops everything at the end.

    Raises:
        ServiceEndedError: one of the processes has exited.
        TimeoutError: history or evaluation did not arrive in time.
    """
    with (
        servers(directory, report=report, kafka_port=ports.kafka, postgres_port=ports.postgres, fresh=fresh) as stack,
        Processes() as processes,
    ):
        report(f"creating topics with {PARTITIONS} partitions each, the schema and the assignments")
        asyncio.run(_prepare(stack))
        services = Services(stack, processes, directory / "logs")
        history_end = datetime.now(UTC).replace(second=0, microsecond=0)
        api = _start(services, ports)
        report(
            f"{HISTORY_HOURS} hours of history for {VEHICLES_WITH_HISTORY} vehicles and their meters, then live readings"
        )
        with httpx.Client(base_url=api, timeout=10) as client:
            _wait_for_history(client, services, history_end, report)
            # started last: an evaluation before the history has arrived would find most readings missing
            services.start(
                "maintain", "sql", "maintain",
                DATABASE_URL=stack.database_url, FAULT_OPEN_AFTER="1", MAINTAIN_METRICS_HOST="127.0.0.1",
                MAINTAIN_METRICS_PORT=str(ports.maintain),
            )  # fmt: skip
            _wait_for_evaluation(client, services, report)
        try:
            yield Demo(stack, services, api, history_end)
        finally:
            report("stopping")


async def _prepare(stack: Servers) -> None:
    topics = KafkaSettings()
    names = (
        topics.kafka_meter_topic,
        topics.kafka_vehicle_topic,
        topics.kafka_assignment_topic,
        topics.kafka_alert_topic,
    )
    await create_topics(stack.kafka_bootstrap_servers, names, partitions=PARTITIONS)
    await migrate(SqlSettings(database_url=SecretStr(stack.database_url)))
    connection = await asyncpg.connect(stack.database_url)
    try:
        await write_assignments(connection, list(all_assignments()), "demo")
    finally:
        await connection.close()


def _start(services: Services, ports: Ports) -> str:
    for number, port in enumerate(ports.metrics, 1):
        services.start(f"consumer-{number}", "consumer", METRICS_HOST="127.0.0.1", METRICS_PORT=str(port))
    services.start("api", "api", API_PORT=str(ports.api), API_OPEN="true", DATABASE_URL=services.stack.reader_url)
    services.start(
        "simulator", "deploy.simulator",
        "--backfill-hours", str(HISTORY_HOURS + MARGIN_HOURS), "--backfill-devices", str(VEHICLES_WITH_HISTORY),
    )  # fmt: skip
    return f"http://localhost:{ports.api}"


def _wait_for_history(client: httpx.Client, services: Services, end: datetime, report: Report) -> None:
    """Waits until the last vehicle of the backfill has a reading for every minute of the day."""
    expected, started, reported = HISTORY_HOURS * 60, time.monotonic(), 0
    address = f"/v1/analytics/performance/{vehicle_id(VEHICLES_WITH_HISTORY)}"
    while (points := _points(client, address, end)) < expected:
        services.check()
        if time.monotonic() - started > TIMEOUT_SECONDS:
            raise TimeoutError(
                f"{points} of {expected} minutes have arrived after {TIMEOUT_SECONDS:.0f} s; logs: {services.logs}"
            )
        if points != reported:
            report(f"{points * 100 // expected} % of the history is stored")
            reported = points
        time.sleep(0.5)
    report(f"the history is stored, {time.monotonic() - started:.0f} s after the first process was started")


def _wait_for_evaluation(client: httpx.Client, services: Services, report: Report) -> None:
    """Waits until maintenance has rolled up the day and evaluated every vehicle."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    vehicles = sum(1 for _ in all_assignments())
    while (summary := client.get("/v1/fleet/summary").json())["vehicles"] < vehicles:
        services.check()
        if time.monotonic() > deadline:
            raise TimeoutError(f"the fleet was not evaluated within {TIMEOUT_SECONDS:.0f} s; logs: {services.logs}")
        time.sleep(0.2)
    report(f"{summary['vehicles']:,} vehicles evaluated, {summary['openFaults']} faulty chargers found")


def _points(client: httpx.Client, address: str, end: datetime) -> int:
    try:
        answer = client.get(address, params={"end": end.isoformat()})
    except httpx.TransportError:
        return 0
    return int(answer.json().get("dataPoints", 0)) if answer.is_success else 0
