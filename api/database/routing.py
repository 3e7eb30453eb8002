"""Where a request reads: request -> the replica while it answers and is not too old, else as DATABASE_READ_FALLBACK says -> rows.

A statement that the replica cannot finish (it died, or had to replay a change that the statement stood in the way of) is asked
once more of the primary: nothing of it has reached anybody yet.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, Literal

import asyncpg
import structlog
from prometheus_client import Counter

from api.database.replica import ReplicaMonitor, is_connection_fault
from api.problems import Unavailable
from sql.connection import DATABASE_ERRORS

log = structlog.get_logger(__name__)

# Conflicts with replay come as 40001, or 40P01 where a page was pinned; a query that took too long (57014) is not one: it would
# take as long on the primary.
CONFLICTS: Final = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
GONE: Final = (
    asyncpg.PostgresConnectionError, asyncpg.AdminShutdownError, asyncpg.CrashShutdownError, asyncpg.CannotConnectNowError,
    asyncpg.DatabaseDroppedError,
)  # fmt: skip
Name = Literal["replica", "primary"]


@dataclass(slots=True)
class ReadOrigin:
    """Where a request has read, for its answer's headers."""

    source: Name | None = None
    staleness: float | None = None


USED: Final[ContextVar[ReadOrigin | None]] = ContextVar("used", default=None)


class Source:
    """One database to read from: its pool, and the connections that are in use."""

    def __init__(self, name: Name, setting: str, pool: Any) -> None:
        self._pool = pool
        self._in_use: set[Any] = set()
        self.name: Name = name
        self.setting = setting

    async def take(self, timeout: float | None) -> Any:
        """A connection; waits for one as long as the pool is busy, unless a timeout (seconds) is given."""
        connection = await self._pool.acquire(timeout=timeout)
        self._in_use.add(connection)
        return connection

    async def give_back(self, connection: Any, *, broken: bool = False) -> None:
        """Done with it; a broken one is closed without waiting for its server."""
        self._in_use.discard(connection)
        if broken:
            _close(connection)
        await self._pool.release(connection)

    def let_go(self) -> None:
        """The server is away: who waits for its answer shall not wait any longer."""
        for connection in list(self._in_use):
            _close(connection)


def _close(connection: Any) -> None:
    with suppress(asyncpg.InterfaceError):  # it is closed already, and its pool has noticed
        connection.terminate()


class RoutedConnection:
    """One request's connection. It moves on to the next of `sources` when the one it reads from fails."""

    def __init__(self, reads: "ReadRouter", sources: list[Source], timeout: float | None) -> None:
        self._reads = reads
        self._sources = sources
        self._timeout = timeout
        self._source: Source | None = None
        self._connection: Any = None

    async def open(self) -> None:
        """Take a connection from the first source that gives one.

        Raises:
            Unavailable: when none does.
        """
        while True:
            source = self._sources.pop(0)
            try:
                self._connection = await source.take(self._timeout)
            except TimeoutError as error:  # a busy pool, or a silent server: its probe will tell which
                self._none_left(source, error)
            except DATABASE_ERRORS as error:
                self._give_up_on(source, error)
            else:
                self._source = source
                self._reads.note(source)
                return

    async def close(self, *, broken: bool = False) -> None:
        """Give the connection back."""
        if self._source:
            source, self._source = self._source, None
            await source.give_back(self._connection, broken=broken)

    async def fetch(self, *arguments: Any) -> Any:
        """As asyncpg's."""
        return await self._ask("fetch", arguments)

    async def fetchrow(self, *arguments: Any) -> Any:
        """As asyncpg's."""
        return await self._ask("fetchrow", arguments)

    async def fetchval(self, *arguments: Any) -> Any:
        """As asyncpg's."""
        return await self._ask("fetchval", arguments)

    async def execute(self, *arguments: Any) -> Any:
        """As asyncpg's."""
        return await self._ask("execute", arguments)

    async def _ask(self, method: str, arguments: tuple[Any, ...]) -> Any:
        while True:
            try:
                return await getattr(self._connection, method)(*arguments)
            except (*CONFLICTS, *DATABASE_ERRORS) as error:
                if self._source is None or not (isinstance(error, (*CONFLICTS, *GONE)) or is_connection_fault(error)):
                    raise
                source, self._source = self._source, None
                await source.give_back(self._connection, broken=True)
                self._give_up_on(source, error)
                await self.open()

    def _give_up_on(self, source: Source, error: Exception) -> None:
        self._reads.failed(source, error)
        self._none_left(source, error)

    def _none_left(self, source: Source, error: Exception) -> None:
        if not self._sources:
            log.warning("database_unavailable", source=source.name, setting=source.setting, error=repr(error))
            raise Unavailable(
                f"the {source.name if self._reads.replica else 'database'} ({source.setting}) does not answer in time; try again"
            ) from error


class ReadRouter:
    """What routes acquire connections from, in the place of a pool."""

    def __init__(
        self, primary: Source | None, replica: ReplicaMonitor | None, standby: Source | None, counter: Counter
    ) -> None:
        self._primary = primary  # None: what the replica cannot answer fails
        self._standby = standby  # None: there is no replica
        self._counter = counter
        self.replica = replica
        if replica and standby:
            replica.on_away = standby.let_go

    @asynccontextmanager
    async def acquire(self, timeout: float | None = None) -> AsyncIterator[RoutedConnection]:
        """A connection for as long as the block runs.

        Raises:
            Unavailable: when no source may be read from, or none answers.
        """
        reader = RoutedConnection(self, self._sources(), timeout)
        await reader.open()
        try:
            yield reader
        except asyncio.CancelledError:  # in the middle of a statement: waiting for its end may take for ever
            await reader.close(broken=True)
            raise
        finally:
            await reader.close()

    def note(self, source: Source) -> None:
        """A request reads from there now."""
        self._counter.labels(source.name).inc()
        if used := USED.get():
            used.source = source.name
            used.staleness = self._staleness(source)

    def failed(self, source: Source, error: Exception) -> None:
        """A source did not answer a request."""
        if self.replica and source is self._standby and (isinstance(error, GONE) or is_connection_fault(error)):
            self.replica.fails(error)

    def _staleness(self, source: Source) -> float | None:
        return self.replica.staleness() if self.replica and source is self._standby else 0.0

    def _sources(self) -> list[Source]:
        if self._standby is None or self.replica is None:
            return [self._primary] if self._primary else []
        problem = self.replica.problem()
        if problem is None:
            return [self._standby, *([self._primary] if self._primary else [])]
        found = [self._primary] if self._primary and self.replica.primary_answers else []
        if self._primary and self.replica.answers:
            found.append(self._standby)  # the primary is away too: an old answer that says so is better than none
        if not found:
            also = "; nor does the primary (DATABASE_URL)" if self._primary else ""
            raise Unavailable(f"{problem}{also}; try again")
        return found
