"""The system under attack: servers, topics, a database, consumers, maintenance, the read service, a load, a watch for stalls."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import asyncpg
from aiokafka import TopicPartition

from deploy.stack.kafka import Kafka
from deploy.stack.processes import Processes, end_of
from deploy.stack.servers import Servers
from deploy.stack.topics import create_topics
from sql.partitions import ensure_partitions, midnight
from sql.settings import SqlSettings
from tests.faults.load import Load
from tests.faults.messages import JUDGED, beginning, today
from tests.faults.oracle.compare import DeliberateChanges, System, compare
from tests.faults.oracle.log import LogRecord, TopicNames, read_log
from tests.faults.oracle.verdict import Verdict
from tests.faults.services import DAYS_OF_ROWS, Services
from tests.faults.stalls import POLL_SECONDS, StallWatch
from tests.support.command import Command, consumer_command
from tests.support.database import Database, new_database
from tests.support.ledger import Topics
from tests.support.repository import ROOT
from tests.support.services import ConsumerGroup, ConsumerProcess, service_environment
from tests.support.waiting import until

PARTITIONS: Final = 4
SETTINGS: Final = {
    "BATCH_MAX_RECORDS": "500",
    "KAFKA_SESSION_TIMEOUT_MS": "3000",
    "LOG_LEVEL": "INFO",
}
RECORDS_CONSUMED: Final = "SELECT coalesce(sum(records_consumed), 0)::bigint FROM kafka_offsets"
SESSIONS: Final = (
    "SELECT pid, state, wait_event_type, wait_event, now() - xact_start AS age, left(query, 90) AS query "
    "FROM pg_stat_activity WHERE datname = $1 AND application_name = 'energy-consumer'"
)
# The rollups of a new database are complete up to the second hour of the fleet of today: readings before it are late from the
# first one on, and the hours since then are rolled up by the first round of maintenance.
ROLLED_UP: Final = "UPDATE rollup_state SET late_before = '{0}', complete_before = '{0}'"
# The days of the load are rows at first: see FOLD_AFTER_DAYS in services.py.
DAYS_OF_ROWS_BEGIN: Final = "UPDATE rollup_state SET folding_before = '{0}', folded_before = '{0}'"
AT_REST: Final = """
SELECT NOT EXISTS (SELECT FROM late_hours)
    AND NOT EXISTS (SELECT FROM meter_late_readings, rollup_state WHERE recorded_at < folded_before)
    AND NOT EXISTS (SELECT FROM vehicle_late_readings, rollup_state WHERE recorded_at < folded_before)
    AND NOT EXISTS (SELECT FROM alert_outbox WHERE published_at IS NULL)
    AND (SELECT complete_before >= date_trunc('hour', now(), 'UTC') FROM rollup_state)
    AND (SELECT count(*) FROM vehicle_efficiency WHERE vehicle_id = ANY($1)) = cardinality($1)
"""
SECONDS_TO_REST: Final = 20.0
UNAVAILABLE: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)
_numbers = itertools.count(1)


@dataclass(slots=True)
class Testbed:
    """What an attack gets to work on.

    `template` is a migrated, empty database to copy.
    `running` are the consumers that must be alive, `started` all consumers so far. `brokers` maps numbers to brokers when there
    are several. `attempts` is how often a duration may be measured until it is within its limit. An attack records what it does
    to the data in `changes`; `measurements` go to the report. Maintenance starts when consumers have stored the fleet of today,
    so that its first evaluation sees all of it; `today` is that fleet's first minute.
    """

    stack: Servers
    template: Database
    database: Database
    topics: Topics
    group: ConsumerGroup
    load: Load
    services: Services
    log_progress: Callable[[str], None]
    brokers: Mapping[int, Kafka]
    today: datetime
    attempts: int = 1
    running: list[ConsumerProcess] = field(default_factory=list)
    started: list[ConsumerProcess] = field(default_factory=list)
    stall_watch: StallWatch = field(default_factory=StallWatch)
    changes: DeliberateChanges = field(default_factory=DeliberateChanges)
    measurements: dict[str, float] = field(default_factory=dict)
    _maintenance: asyncio.Event = field(default_factory=asyncio.Event)  # set when it has started

    @property
    def operator(self) -> Command:
        """Runs commands with the rights of the schema's owner."""
        return consumer_command(self.group.environment, self.database)

    def start(self, number: int = 1, **settings: str) -> list[ConsumerProcess]:
        """Start more consumers."""
        consumers = [self.group.start(**settings) for _ in range(number)]
        self.running += consumers
        self.started += consumers
        return consumers

    async def kill(self, consumer: ConsumerProcess) -> None:
        """SIGKILL."""
        self.running.remove(consumer)
        await asyncio.to_thread(self.group.kill, consumer)

    async def stop(self, consumer: ConsumerProcess) -> None:
        """SIGTERM; the exit code must be 0."""
        self.running.remove(consumer)
        code = await asyncio.to_thread(self.group.stop, consumer)
        assert code == 0, f"a consumer ended with {code}:\n{end_of(consumer.log, 30)}"

    async def stop_all(self) -> None:
        for consumer in list(self.running):
            await self.stop(consumer)

    async def until_caught_up(self, *, timeout: float = 120) -> None:
        """Wait until the stored offsets cover every record that Kafka has acknowledged so far."""
        await self.load.until_acknowledged()
        end_offsets = dict(self.load.end_offsets)

        async def caught_up() -> bool:
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                return self._reach(await self.stored_offsets(), end_offsets)
            return False

        try:
            await until(caught_up, "the consumers catch up", timeout=timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{await self._diagnostics()}") from None

    async def stored_offsets(self) -> dict[tuple[str, int], int]:
        rows = await self.database.fetch("SELECT topic, partition, next_offset FROM kafka_offsets")
        return {(row["topic"], row["partition"]): row["next_offset"] for row in rows}

    @staticmethod
    def _reach(stored: Mapping[tuple[str, int], int], end_offsets: Mapping[TopicPartition, int]) -> bool:
        return all(stored.get((each.topic, each.partition), 0) >= end for each, end in end_offsets.items())

    async def has_consumed_twice(self) -> bool:
        """Whether the ledger has counted more records than Kafka has acknowledged. False where records are deleted."""
        return bool(await self.database.value(RECORDS_CONSUMED) > len(self.load.journal))

    def fenced_writes(self) -> int:
        """Number of writes that the claim of offsets has fenced."""
        return sum(len(each.events("write_fenced")) for each in self.started)

    async def read_log(self) -> list[LogRecord]:
        """Every record of the topics that the system reads, as Kafka holds them now."""
        return await read_log(self.stack.kafka_bootstrap_servers, topic_names(self.topics))

    async def verify(self) -> Verdict:
        """Stop the load, wait until the system is at rest, and compare it with Kafka's log. May be called more than once."""
        await self.load.stop_sending()
        await self.until_caught_up()
        if not self.running:  # somebody has to publish the alerts
            self.start()
        for consumer in self.running:
            assert consumer.process.poll() is None, f"a consumer has ended:\n{end_of(consumer.log, 30)}"
        await self.until_at_rest()
        self.services.require_running()
        now, middle = datetime.now(UTC), self.load.start_time + timedelta(hours=1, minutes=7)
        system = System(
            self.stack.kafka_bootstrap_servers,
            self.database.migrator_url,
            self.services.api_url,
            self.services.archive,
            topic_names(self.topics),
            JUDGED,
            most_copies=1 + len(self.started),
            ends=(now, now - timedelta(hours=4, minutes=11), middle),
        )
        return await compare(system, self.load.journal, self.changes)

    async def until_at_rest(self) -> None:
        """Wait until maintenance has nothing left to do, and no longer than SECONDS_TO_REST: the oracle finds what is missing."""
        await asyncio.wait_for(self._maintenance.wait(), SECONDS_TO_REST)
        await self.services.until_api_answers()

        async def at_rest() -> bool:
            with suppress(*UNAVAILABLE):
                return bool(await self.database.value(AT_REST, list(JUDGED)))
            return False

        with suppress(AssertionError):
            await until(at_rest, "maintenance is at rest", timeout=SECONDS_TO_REST, every=0.2)

    @asynccontextmanager
    async def active(self) -> AsyncIterator[None]:
        """Send the fleet of today, keep the load connected, run the other services and watch for stalls while the block runs."""
        self.services.start_api()
        await self.load.connect()
        await self.load.send_messages(today(self.today, datetime.now(UTC)))
        await self.load.until_acknowledged()
        tasks = [
            asyncio.create_task(self._start_maintenance(), name="maintenance"),
            asyncio.create_task(self._watch_for_stalls(), name="watch"),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await self.load.disconnect()

    async def _start_maintenance(self) -> None:
        end_offsets = dict(self.load.end_offsets)

        async def is_stored() -> bool:
            with suppress(*UNAVAILABLE):
                return self._reach(await self.stored_offsets(), end_offsets)
            return False

        await until(is_stored, "the fleet of today is stored", timeout=600, every=0.2)
        self.services.start_maintenance()
        self._maintenance.set()

    async def _watch_for_stalls(self) -> None:
        connection: Any = None
        await self._maintenance.wait()  # the start of the first consumer is no stall
        try:
            while True:
                consumed = None
                with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
                    if connection is None or connection.is_closed():
                        connection = await asyncpg.connect(self.database.migrator_url, timeout=2)
                    consumed = await connection.fetchval(RECORDS_CONSUMED, timeout=2)
                self.stall_watch.observe(consumed, len(self.load.journal))
                await asyncio.sleep(POLL_SECONDS)
        finally:
            if connection:
                connection.terminate()

    async def _diagnostics(self) -> str:
        """State of the consumers and of their database sessions, for an error message."""
        lines = []
        for each in self.running:
            waiting_for: object = "ended" if each.process.poll() is not None else None
            with suppress(Exception):
                waiting_for = waiting_for or await each.blocked_by()
            lines.append(f"-- {each.log}: waits for {waiting_for}\n{end_of(each.log, 8)}")
        sessions = await self.database.fetch(SESSIONS, self.database.name)
        stored = await self.database.fetch("SELECT topic, partition, next_offset FROM kafka_offsets ORDER BY 1, 2")
        return "\n".join([*lines, f"ends: {dict(self.load.end_offsets)}", *map(str, stored), *map(str, sessions)])


@contextmanager
def new_testbed(
    stack: Servers,
    template: Database,
    directory: Path,
    log_progress: Callable[[str], None],
    brokers: Mapping[int, Kafka],
    attempts: int = 1,
    code: Path = ROOT,
) -> Iterator[Testbed]:
    """A testbed with its own database and topics, which runs the system from `code`; must be entered outside of an event loop."""
    topics = _create_topics(stack, replication_factor=max(1, len(brokers)))
    directory.mkdir(parents=True, exist_ok=True)
    with (
        new_database(stack, topics.meter.replace("-", "_"), template) as database,
        Processes() as processes,
    ):
        start = beginning(datetime.now(UTC))
        asyncio.run(_prepare(database, start))
        environment = service_environment(stack, database, topics) | SETTINGS
        environment |= {"KAFKA_REGISTER_TOPIC": topics.register, "KAFKA_ALERT_TOPIC": topics.alert}
        group = ConsumerGroup(processes, environment, directory, code)
        load = Load(stack.kafka_bootstrap_servers, topic_names(topics))
        services = Services(processes, environment, database.migrator_url, directory, code)
        yield Testbed(stack, template, database, topics, group, load, services, log_progress, brokers, start, attempts)


async def _prepare(database: Database, start: datetime) -> None:
    await database.execute(ROLLED_UP.format(start + timedelta(hours=1)))
    await database.execute(DAYS_OF_ROWS_BEGIN.format(midnight(start) - timedelta(days=DAYS_OF_ROWS)))
    connection = await asyncpg.connect(database.migrator_url)
    try:
        await ensure_partitions(connection, datetime.now(UTC), SqlSettings.model_fields["retention_days"].default)
    finally:
        await connection.close()


def topic_names(topics: Topics) -> TopicNames:
    return TopicNames(topics.meter, topics.vehicle, topics.register, topics.assignment, topics.alert)


def _create_topics(stack: Servers, *, replication_factor: int) -> Topics:
    number = f"{os.getpid()}-{next(_numbers)}"
    names = [f"fault-{each}-{number}" for each in ("meter", "vehicle", "assignment", "register", "alert")]
    topics = Topics(names[0], names[1], PARTITIONS, *names[2:])
    asyncio.run(
        create_topics(
            stack.kafka_bootstrap_servers, names, partitions=PARTITIONS, replication_factor=replication_factor
        )
    )
    return topics
