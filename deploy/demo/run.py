"""The start of the demo: servers -> schema and topics -> folded days -> processes -> the hours since -> live readings."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import asyncpg
import httpx
from pydantic import SecretStr

from deploy.demo.fleet import (
    FLEET,
    FOLDED_DAYS,
    VEHICLES_WITH_HISTORY,
    all_assignments,
    backfill_from,
    rows_from,
)
from deploy.demo.month.load import load_days
from deploy.demo.services import Services
from deploy.simulator.fleet import vehicle_id
from deploy.stack.processes import Processes
from deploy.stack.resolve import servers
from deploy.stack.servers import Servers
from deploy.stack.topics import create_topics
from schemas.config.settings import KafkaSettings
from sql.assign import write_assignments
from sql.migrate import migrate
from sql.queries import queries
from sql.settings import SqlSettings

Report = Callable[[str], None]
PARTITIONS: Final = 8
TIMEOUT_SECONDS: Final = 180.0
DAY: Final = timedelta(days=1)
NEWEST: Final = "SELECT min(recorded_at) FROM vehicle_live_status WHERE vehicle_id = ANY($1)"


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
    """A running demo with history up to `history_end`, folded up to `folded_before`. `api` is the API's address."""

    stack: Servers
    services: Services
    api: str
    history_end: datetime
    folded_before: datetime


@contextmanager
def demo(directory: Path, ports: Ports, report: Report, *, fresh: bool) -> Iterator[Demo]:
    """Starts everything and waits until the history is stored and all vehicles are evaluated. Stops everything at the end.

    Raises:
        ServiceEndedError: one of the processes has exited.
        TimeoutError: history or evaluation did not arrive in time.
    """
    with (
        servers(directory, report=report, kafka_port=ports.kafka, postgres_port=ports.postgres, fresh=fresh) as stack,
        Processes() as processes,
    ):
        report(f"creating topics with {PARTITIONS} partitions each, the schema and the assignments")
        folded_before, newest = asyncio.run(_prepare(stack, report))
        services = Services(stack, processes, directory / "logs")
        now = datetime.now(UTC)
        history_end = now.replace(second=0, microsecond=0)
        begin = backfill_from(now, folded_before, newest)
        api = _start(services, ports, begin)
        hours = (now - begin) / timedelta(hours=1)
        report(f"{hours:.0f} hours of history for {VEHICLES_WITH_HISTORY} vehicles through Kafka, then live readings")
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
            yield Demo(stack, services, api, history_end, folded_before)
        finally:
            report("stopping")


async def _prepare(stack: Servers, report: Report) -> tuple[datetime, datetime | None]:
    """Creates topics, schema and assignments, and loads folded days.

    Returns the instant from which readings are rows, and the one up to which every vehicle with history has readings.
    """
    topics = KafkaSettings()
    names = (*topics.meter_topics, *topics.vehicle_topics, *topics.assignment_topics, topics.kafka_alert_topic)
    await create_topics(stack.kafka_bootstrap_servers, names, partitions=PARTITIONS)
    await migrate(SqlSettings(database_url=SecretStr(stack.database_url), fold_after_days=1))
    connection = await asyncpg.connect(stack.database_url)
    try:
        await write_assignments(connection, list(all_assignments()), "demo")
        await _load_month(connection, report)
        state = await queries.folding_state(connection)
        vehicles = [vehicle_id(number) for number in range(1, VEHICLES_WITH_HISTORY + 1)]
        newest = await connection.fetchval(NEWEST, vehicles)
        return state["folded_before"] or datetime.min.replace(tzinfo=UTC), newest
    finally:
        await connection.close()


async def _load_month(connection: Any, report: Report) -> None:
    """Loads folded days, unless the database has readings already, those of an earlier demo for example."""
    if await connection.fetchval("SELECT EXISTS (TABLE vehicle_days) OR EXISTS (TABLE vehicle_live_status)"):
        report("the database has readings already: no further days are loaded")
        return
    started, until = time.monotonic(), rows_from(await queries.database_clock(connection))
    readings = await load_days(connection, FLEET, VEHICLES_WITH_HISTORY, until, FOLDED_DAYS)
    report(f"{FOLDED_DAYS} days, {readings:,} readings, loaded folded in {time.monotonic() - started:.1f} s")


def _start(services: Services, ports: Ports, begin: datetime) -> str:
    for number, port in enumerate(ports.metrics, 1):
        services.start(f"consumer-{number}", "consumer", METRICS_HOST="127.0.0.1", METRICS_PORT=str(port))
    services.start("api", "api", API_PORT=str(ports.api), API_OPEN="true", DATABASE_URL=services.stack.reader_url)
    services.start(
        "simulator", "deploy.simulator",
        "--backfill-from", f"{begin:%Y-%m-%dT%H:%M:%S%z}", "--backfill-devices", str(VEHICLES_WITH_HISTORY),
        "--aging-share", str(FLEET.aging_share), "--routine-days", str(FLEET.routine_days),
    )  # fmt: skip
    return f"http://localhost:{ports.api}"


def _wait_for_history(client: httpx.Client, services: Services, end: datetime, report: Report) -> None:
    """Waits until the last vehicle of the backfill has a reading for every minute of the last 24 hours."""
    expected, started, reported = DAY // timedelta(minutes=1), time.monotonic(), 0
    address = f"/v1/analytics/performance/{vehicle_id(VEHICLES_WITH_HISTORY)}"
    while (points := _points(client, address, end)) < expected:
        services.check()
        if time.monotonic() - started > TIMEOUT_SECONDS:
            raise TimeoutError(
                f"{points} of {expected} minutes have arrived after {TIMEOUT_SECONDS:.0f} s; logs: {services.logs}"
            )
        if points != reported:
            report(f"{points * 100 // expected} % of the last 24 hours is stored")
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
