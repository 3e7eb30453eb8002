"""Where an attack happens: servers, topics, replicas, the load, and somebody who watches for stalls."""

import asyncio
import itertools
import os
import time
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
from tests.faults.oracle import Known, Verdict, judge
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
CONSUMED: Final = "SELECT coalesce(sum(records_consumed), 0)::bigint FROM kafka_offsets"
_numbers = itertools.count(1)


@dataclass(slots=True)
class Watch:
    """The longest time in which acknowledged records waited and none was written."""

    longest: float = 0.0
    _since: float = field(default_factory=time.monotonic)
    _last: int = -1

    def sees(self, consumed: int | None, acknowledged: int) -> None:
        """One look; None when the database did not answer."""
        now = time.monotonic()
        if consumed is not None and (consumed != self._last or consumed >= acknowledged):
            self._last, self._since = consumed, now
        self.longest = max(self.longest, now - self._since)


@dataclass(slots=True)
class Arena:
    """`live` are the replicas that should be running, `known` is what the oracle must be told, `measured` goes to the report.

    `brokers` are there by number when there are several. `tries`: how often a time may be measured until it is within its limit.
    """

    stack: Servers
    database: Database
    topics: Topics
    group: ConsumerGroup
    load: Load
    say: Callable[[str], None]
    brokers: Mapping[int, Kafka]
    tries: int = 1
    live: list[ConsumerProcess] = field(default_factory=list)
    everyone: list[ConsumerProcess] = field(default_factory=list)
    watch: Watch = field(default_factory=Watch)
    known: Known = field(default_factory=Known)
    measured: dict[str, float] = field(default_factory=dict)

    @property
    def operator(self) -> Command:
        """Somebody with the rights of the schema's owner."""
        return consumer_command(self.group.environment, self.database)

    async def stop_all(self) -> None:
        """SIGTERM to every replica."""
        for replica in list(self.live):
            await self.stop(replica)

    def start(self, number: int = 1, **settings: str) -> list[ConsumerProcess]:
        """More replicas."""
        started = [self.group.start(**settings) for _ in range(number)]
        self.live += started
        self.everyone += started
        return started

    async def kill(self, replica: ConsumerProcess) -> None:
        """kill -9."""
        self.live.remove(replica)
        await asyncio.to_thread(self.group.kill, replica)

    async def stop(self, replica: ConsumerProcess) -> None:
        """SIGTERM; it must end well."""
        self.live.remove(replica)
        code = await asyncio.to_thread(self.group.stop, replica)
        assert code == 0, f"a replica ended with {code}:\n{end_of(replica.log, 30)}"

    async def caught_up(self, *, timeout: float = 120) -> None:
        """Everything that Kafka has acknowledged so far is settled."""
        await self.load.acknowledged()
        ends = dict(self.load.ends)

        async def settled() -> bool:
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                rows = await self.database.fetch("SELECT topic, partition, next_offset FROM kafka_offsets")
                stored = {(row["topic"], row["partition"]): row["next_offset"] for row in rows}
                return all(stored.get((each.topic, each.partition), 0) >= end for each, end in ends.items())
            return False

        try:
            await until(settled, "the replicas catch up", timeout=timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{await self._account()}") from None

    async def _account(self) -> str:
        """What the replicas say of themselves, for the message of an error."""
        told = []
        for each in self.live:
            waiting: object = "ended" if each.process.poll() is not None else None
            with suppress(Exception):
                waiting = waiting or await each.blocked_by()
            told.append(f"-- {each.log}: waits for {waiting}\n{end_of(each.log, 8)}")
        rows = await self.database.fetch(
            "SELECT pid, state, wait_event_type, wait_event, now() - xact_start AS age, left(query, 90) AS query "
            "FROM pg_stat_activity WHERE datname = $1 AND application_name = 'energy-consumer'",
            self.database.name,
        )
        stored = await self.database.fetch("SELECT topic, partition, next_offset FROM kafka_offsets ORDER BY 1, 2")
        return "\n".join([*told, f"ends: {dict(self.load.ends)}", *map(str, stored), *map(str, rows)])

    def fenced(self) -> int:
        """How often a replica was refused by the claim."""
        return sum(len(each.events("write_fenced")) for each in self.everyone)

    async def judge(self) -> Verdict:
        """Stop the load, wait until all is settled, and compare."""
        await self.load.settle()
        await self.caught_up()
        for replica in self.live:
            assert replica.process.poll() is None, f"a replica has ended:\n{end_of(replica.log, 30)}"
        return await judge(
            self.stack.kafka_bootstrap_servers, self.database, self.topics, self.load.journal, self.known
        )

    @asynccontextmanager
    async def fighting(self) -> AsyncIterator[None]:
        """The load is connected and stalls are watched for as long as the block runs."""
        await self.load.start()
        watching = asyncio.create_task(self._watch(), name="watch")
        try:
            yield
        finally:
            watching.cancel()
            await self.load.stop()

    async def _watch(self) -> None:
        connection: Any = None
        try:
            while True:
                consumed = None
                with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
                    if connection is None or connection.is_closed():
                        connection = await asyncpg.connect(self.database.migrator_url, timeout=2)
                    consumed = await connection.fetchval(CONSUMED, timeout=2)
                self.watch.sees(consumed, len(self.load.journal))
                await asyncio.sleep(0.1)
        finally:
            if connection:
                connection.terminate()


@contextmanager
def arena(
    stack: Servers,
    template: Database,
    directory: Path,
    say: Callable[[str], None],
    brokers: Mapping[int, Kafka],
    tries: int = 1,
) -> Iterator[Arena]:
    """An arena with a database and topics of its own; called outside of an event loop."""
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
        environment = service_environment(stack, database, topics) | SETTINGS
        load = Load(stack.kafka_bootstrap_servers, topics)
        yield Arena(
            stack, database, topics, ConsumerGroup(processes, environment, directory), load, say, brokers, tries
        )
