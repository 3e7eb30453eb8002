"""A migrated database of one test's own, and locks that hold the transactions of a consumer in it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from deploy.stack.servers import Servers
from sql.partitions import AHEAD, ROWS, list_partitions, month_after
from tests.support.waiting import connected, until

COMMIT_LOCK = 4_004  # an advisory lock


@dataclass(frozen=True, slots=True)
class Database:
    """A migrated database that belongs to one test."""

    name: str
    stack: Servers

    @property
    def migrator_url(self) -> str:
        return self._with_name(self.stack.database_url)

    @property
    def writer_url(self) -> str:
        return self._with_name(self.stack.writer_url)

    @property
    def reader_url(self) -> str:
        return self._with_name(self.stack.reader_url)

    def _with_name(self, url: str) -> str:
        return urlunsplit(urlsplit(url)._replace(path=f"/{self.name}"))

    async def fetch(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        """The rows of a query, run as the owner of the schema."""
        async with connected(self.migrator_url) as connection:
            rows: list[asyncpg.Record] = await connection.fetch(query, *arguments)
            return rows

    async def value(self, query: str, *arguments: Any) -> Any:
        """The first column of the first row."""
        return (await self.fetch(query, *arguments))[0][0]

    async def execute(self, statement: str) -> None:
        """Runs statements as the owner of the schema."""
        async with connected(self.migrator_url) as connection:
            await connection.execute(statement)


async def drop_rows(connection: Any) -> None:
    """Leaves no partition for rows and hourly rollups, and no watermark."""
    for table in await list_partitions(connection, ROWS):
        await connection.execute(f'DROP TABLE "{table.name}"')
    await connection.execute(
        "UPDATE rollup_state SET folding_before = '-infinity', folded_before = '-infinity', late_before = '-infinity', "
        "complete_before = '-infinity'"
    )


async def use_months(connection: Any, oldest: datetime) -> None:
    """Empty partitions of a month for rows, from an instant to two months ahead, and no watermark, as in the version before."""
    await drop_rows(connection)
    await connection.execute("SELECT ensure_history_partitions($1, $2)", oldest, datetime.now(UTC) + AHEAD)


def names_of_rows(oldest: datetime, now: datetime, parent: str) -> list[str]:
    """Tables of a parent from an instant on: of a day to the end of the month in which the fourth day lies, then of a month."""
    days_until, months_until = month_after((now + timedelta(days=3)).date()), (now + AHEAD).date()
    days = [oldest.date() + timedelta(days=number) for number in range((days_until - oldest.date()).days)]
    months = [days_until] if days_until <= months_until else []
    while months and month_after(months[-1]) <= months_until:
        months.append(month_after(months[-1]))
    return [f"{parent}_y{day:%Ym%md%d}" for day in days] + [f"{parent}_y{month:%Ym%m}" for month in months]


@contextmanager
def new_database(stack: Servers, name: str, template: Database | None = None) -> Iterator[Database]:
    """A database that is dropped when the block ends: empty, or a copy of a template. Call it outside of an event loop."""
    database = Database(name, stack)
    copy = f" TEMPLATE {template.name}" if template else ""
    asyncio.run(_execute_on_server(stack, f"CREATE DATABASE {name}{copy}"))
    try:
        yield database
    finally:
        asyncio.run(_drop(stack, name))


async def _drop(stack: Servers, name: str) -> None:
    async def dropped() -> bool:
        try:
            await _execute_on_server(stack, f"DROP DATABASE {name} WITH (FORCE)")
        # Only a superuser may terminate an autovacuum worker that is still in it. A server that was killed is starting up.
        except (asyncpg.InsufficientPrivilegeError, asyncpg.CannotConnectNowError):
            return False
        except ConnectionRefusedError:  # the server is gone, and the database with it
            return True
        return True

    await until(dropped, f"{name} can be dropped")


async def _execute_on_server(stack: Servers, statement: str) -> None:
    connection = await asyncpg.connect(stack.database_url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@asynccontextmanager
async def locked_tables(
    database: Database, tables: str = "meter_live_status, vehicle_live_status", *, mode: str = "EXCLUSIVE"
) -> AsyncIterator[None]:
    """Locks tables. The default makes a consumer's transaction wait after it has claimed its offsets and before its COMMIT."""
    connection = await asyncpg.connect(database.migrator_url)
    try:
        async with connection.transaction():
            await connection.execute(f"LOCK TABLE {tables} IN {mode} MODE")
            yield
    finally:
        await connection.close()


@asynccontextmanager
async def blocked_commits(database: Database) -> AsyncIterator[None]:
    """Makes transactions that claim offsets wait inside their COMMIT, before it is final."""
    connection = await asyncpg.connect(database.migrator_url)
    try:
        await connection.execute(
            "CREATE OR REPLACE FUNCTION hold_at_commit() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS "
            f"$$ BEGIN PERFORM pg_advisory_xact_lock_shared({COMMIT_LOCK}); RETURN NULL; END $$; "
            "CREATE CONSTRAINT TRIGGER hold_at_commit AFTER UPDATE ON kafka_offsets DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION hold_at_commit()"
        )
        await connection.execute(f"SELECT pg_advisory_lock({COMMIT_LOCK})")
        yield
        await connection.execute(f"SELECT pg_advisory_unlock({COMMIT_LOCK})")
        await connection.execute("DROP TRIGGER hold_at_commit ON kafka_offsets")
    finally:
        await connection.close()


async def waits_for_lock(database: Database, *, wrote: bool = True) -> bool:
    """Whether a consumer's transaction in this database waits for a lock. `wrote`: only one that has written rows counts."""
    return bool(
        await database.value(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND wait_event_type = 'Lock' "
            "AND application_name = 'energy-consumer' AND (backend_xid IS NOT NULL OR NOT $2)",
            database.name,
            wrote,
        )
    )
