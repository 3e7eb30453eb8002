"""What a test is given to work on: a database of its own, topics of its own, and the ledger to check at the end."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from aiokafka.admin import AIOKafkaAdminClient

from deploy.stack.servers import Servers
from sql.queries import queries
from tests.support.waiting import until


@dataclass(frozen=True, slots=True)
class Database:
    """A migrated database that belongs to one test."""

    name: str
    stack: Servers

    @property
    def migrator_url(self) -> str:
        return self._here(self.stack.database_url)

    @property
    def writer_url(self) -> str:
        return self._here(self.stack.writer_url)

    @property
    def reader_url(self) -> str:
        return self._here(self.stack.reader_url)

    def _here(self, url: str) -> str:
        return urlunsplit(urlsplit(url)._replace(path=f"/{self.name}"))

    async def fetch(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        """Rows, as the owner of the schema sees them."""
        connection = await asyncpg.connect(self.migrator_url)
        try:
            return await connection.fetch(query, *arguments)
        finally:
            await connection.close()

    async def value(self, query: str, *arguments: Any) -> Any:
        """The first column of the first row."""
        return (await self.fetch(query, *arguments))[0][0]

    async def execute(self, statement: str) -> None:
        """Do something as the owner of the schema."""
        connection = await asyncpg.connect(self.migrator_url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


@contextmanager
def new_database(stack: Servers, name: str, template: Database | None = None) -> Iterator[Database]:
    """A database for as long as the block runs: empty, or a copy. Called outside of an event loop."""
    made = Database(name, stack)
    copied = f" TEMPLATE {template.name}" if template else ""
    asyncio.run(_administer(stack, f"CREATE DATABASE {name}{copied}"))
    try:
        yield made
    finally:
        asyncio.run(_drop(stack, name))


async def _drop(stack: Servers, name: str) -> None:
    async def dropped() -> bool:
        try:
            await _administer(stack, f"DROP DATABASE {name} WITH (FORCE)")
        except asyncpg.InsufficientPrivilegeError:  # an autovacuum worker is at it: only a superuser may end that
            return False
        return True

    await until(dropped, f"{name} can be dropped")


async def _administer(stack: Servers, statement: str) -> None:
    connection = await asyncpg.connect(stack.database_url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one test, with `partitions` partitions each."""

    meter: str
    vehicle: str
    partitions: int
    assignment: str = "assignments"
    register: str = "register-readings"


@dataclass(frozen=True, slots=True)
class Entry:
    """One topic of the ledger."""

    consumed: int
    written: int
    duplicates: int
    dead_lettered: int


async def ledger(database: Database, topics: Topics) -> dict[str, Entry]:
    """The ledger by topic, after the one query has shown that it adds up with what is really stored."""
    connection = await asyncpg.connect(database.migrator_url)
    try:
        found = queries.ledger(
            connection,
            meter_topic=topics.meter,
            vehicle_topic=topics.vehicle,
            assignment_topic=topics.assignment,
            register_topic=topics.register,
        )
        rows = [row async for row in found]
    finally:
        await connection.close()
    for row in rows:
        assert row["adds_up"], f"the ledger does not add up: {dict(row)}"
    return {
        row["topic"]: Entry(row["consumed"], row["written"], row["duplicates"], row["dead_lettered"]) for row in rows
    }


@asynccontextmanager
async def locked(database: Database, tables: str = "meter_live_status, vehicle_live_status") -> AsyncIterator[None]:
    """Hold tables, so that a transaction that writes one stands still after its claim and before its COMMIT."""
    connection = await asyncpg.connect(database.migrator_url)
    try:
        async with connection.transaction():
            await connection.execute(f"LOCK TABLE {tables} IN EXCLUSIVE MODE")
            yield
    finally:
        await connection.close()


HOLD_AT_COMMIT = 4_004


@asynccontextmanager
async def held_at_commit(database: Database) -> AsyncIterator[None]:
    """Hold transactions that claim a partition inside their COMMIT, before it is final."""
    connection = await asyncpg.connect(database.migrator_url)
    try:
        await connection.execute(
            "CREATE OR REPLACE FUNCTION hold_at_commit() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS "
            f"$$ BEGIN PERFORM pg_advisory_xact_lock_shared({HOLD_AT_COMMIT}); RETURN NULL; END $$; "
            "CREATE CONSTRAINT TRIGGER hold_at_commit AFTER UPDATE ON kafka_offsets DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION hold_at_commit()"
        )
        await connection.execute(f"SELECT pg_advisory_lock({HOLD_AT_COMMIT})")
        yield
        await connection.execute(f"SELECT pg_advisory_unlock({HOLD_AT_COMMIT})")
        await connection.execute("DROP TRIGGER hold_at_commit ON kafka_offsets")
    finally:
        await connection.close()


async def waits_for_a_lock(database: Database, *, wrote: bool = True) -> bool:
    """Whether a consumer's transaction in this database stands still, after it has written something (or not)."""
    return bool(
        await database.value(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND wait_event_type = 'Lock' "
            "AND application_name = 'energy-consumer' AND (backend_xid IS NOT NULL OR NOT $2)",
            database.name,
            wrote,
        )
    )


async def committed_in_kafka(stack: Servers, consumer_group: str) -> dict[tuple[str, int], int]:
    """The offsets that Kafka itself has of a group, by topic and partition."""
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap_servers)
    await admin.start()
    try:
        offsets = await admin.list_consumer_group_offsets(consumer_group)
    finally:
        await admin.close()
    return {(partition.topic, partition.partition): found.offset for partition, found in offsets.items()}
