"""The system under attack: servers, topics, a database, a group of consumers, a load, and a watch for stalls."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import asyncpg

from deploy.stack.kafka import Kafka
from deploy.stack.processes import Processes, end_of
from deploy.stack.servers import Servers
from deploy.stack.topics import create_topics
from tests.faults.load import Load
from tests.faults.oracle import DeliberateChanges, Verdict, compare
from tests.faults.stalls import POLL_SECONDS, StallWatch
from tests.support.command import Command, consumer_command
from tests.support.database import Database, new_database
from tests.support.ledger import Topics
from tests.support.services import ConsumerGroup, ConsumerProcess, service_environment
from tests.support.waiting import until

PARTITIONS: Final = 4
SETTINGS: Final = {
    "BATCH_MAX_RECORDS": "500",
    "BATCH_MAX_WAIT_MS": "50",
    "KAFKA_SESSION_TIMEOUT_MS": "3000",
    "LOG_LEVEL": "INFO",
}
RECORDS_CONSUMED: Final = "SELECT coalesce(sum(records_consumed), 0)::bigint FROM kafka_offsets"
SESSIONS: Final = (
    "SELECT pid, state, wait_event_type, wait_event, now() - xact_start AS age, left(query, 90) AS query "
    "FROM pg_stat_activity WHERE datname = $1 AND application_name = 'energy-consumer'"
)
_numbers = itertools.count(1)


@dataclass(slots=True)
class Testbed:
    """What an attack gets to work on.

    `running` are the consumers that must be alive, `started` all consumers so far. `brokers` maps numbers to brokers when there
    are several. `attempts` is how often a duration may be measured until it is within its limit. An attack records what it does
    to the data in `changes`; `measurements` go to the report.
    """

    stack: Servers
    database: Database
    topics: Topics
    group: ConsumerGroup
    load: Load
    log_progress: Callable[[str], None]
    brokers: Mapping[int, Kafka]
    attempts: int = 1
    running: list[ConsumerProcess] = field(default_factory=list)
    started: list[ConsumerProcess] = field(default_factory=list)
    stall_watch: StallWatch = field(default_factory=StallWatch)
    changes: DeliberateChanges = field(default_factory=DeliberateChanges)
    measurements: dict[str, float] = field(default_factory=dict)

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

    async def until_caught_up(self, *, timeout: float = 40) -> None:
        """Wait until the stored offsets cover every record that Kafka has acknowledged so far."""
        await self.load.until_acknowledged()
        end_offsets = dict(self.load.end_offsets)

        async def caught_up() -> bool:
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                stored = await self.stored_offsets()
                return all(stored.get((each.topic, each.partition), 0) >= end for each, end in end_offsets.items())
            return False

        try:
            await until(caught_up, "the consumers catch up", timeout=timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{await self._diagnostics()}") from None

    async def stored_offsets(self) -> dict[tuple[str, int], int]:
        rows = await self.database.fetch("SELECT topic, partition, next_offset FROM kafka_offsets")
        return {(row["topic"], row["partition"]): row["next_offset"] for row in rows}

    def fenced_writes(self) -> int:
        """Number of writes that the claim of offsets has fenced."""
        return sum(len(each.events("write_fenced")) for each in self.started)

    async def verify(self) -> Verdict:
        """Stop the load, wait until everything is consumed, and compare the database with Kafka."""
        await self.load.stop_sending()
        await self.until_caught_up()
        for consumer in self.running:
            assert consumer.process.poll() is None, f"a consumer has ended:\n{end_of(consumer.log, 30)}"
        return await compare(
            self.stack.kafka_bootstrap_servers, self.database, self.topics, self.load.journal, self.changes
        )

    @asynccontextmanager
    async def active(self) -> AsyncIterator[None]:
        """Keep the load connected and watch for stalls while the block runs."""
        await self.load.connect()
        watching = asyncio.create_task(self._watch_for_stalls(), name="watch")
        try:
            yield
        finally:
            watching.cancel()
            await self.load.disconnect()

    async def _watch_for_stalls(self) -> None:
        connection: Any = None
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
) -> Iterator[Testbed]:
    """A testbed with its own database and topics; must be entered outside of an event loop."""
    number = f"{os.getpid()}-{next(_numbers)}"
    topics = Topics(f"fault-meter-{number}", f"fault-vehicle-{number}", PARTITIONS)
    asyncio.run(
        create_topics(
            stack.kafka_bootstrap_servers,
            (topics.meter, topics.vehicle),
            partitions=topics.partitions,
            replication_factor=max(1, len(brokers)),
        )
    )
    directory.mkdir(parents=True, exist_ok=True)
    with (
        new_database(stack, f"energy_fault_{number.replace('-', '_')}", template) as database,
        Processes() as processes,
    ):
        group = ConsumerGroup(processes, service_environment(stack, database, topics) | SETTINGS, directory)
        load = Load(stack.kafka_bootstrap_servers, topics)
        yield Testbed(stack, database, topics, group, load, log_progress, brokers, attempts)
