"""Routing of reads: request -> the replica while it is up and recent enough, else what DATABASE_READ_FALLBACK allows -> rows.

A statement that fails because of an outage or a recovery conflict is repeated on the other database, if the fallback allows it.
The failover is transparent: no row of the failed statement has reached the client.
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

from api.database.replica import ReplicaMonitor, is_connection_error
from api.problems import Overloaded, Unavailable
from sql.connection import DATABASE_ERRORS

log = structlog.get_logger(__name__)

# Recovery conflicts are reported as 40001, or as 40P01 where a page was pinned. A query that was cancelled because it took too
# long (57014) is not repeated: it would take as long on the primary.
RECOVERY_CONFLICTS: Final = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
CONNECTION_LOST: Final = (
    asyncpg.PostgresConnectionError, asyncpg.AdminShutdownError, asyncpg.CrashShutdownError, asyncpg.CannotConnectNowError,
    asyncpg.DatabaseDroppedError,
)  # fmt: skip
CONNECTION_TIMEOUT_SECONDS: Final = 10.0  # for a connection of an exhausted pool
SourceName = Literal["replica", "primary"]


@dataclass(slots=True)
class ReadOrigin:
    """The database that a request has read from, its upper bound of staleness in seconds, and whether the archive was read."""

    source: SourceName | None = None
    staleness: float | None = None
    archive: bool = False


READ_ORIGIN: Final[ContextVar[ReadOrigin | None]] = ContextVar("read_origin", default=None)


def adopt_origin(origin: ReadOrigin) -> None:
    """Makes an origin that of this request, whose response was read by another task."""
    if own := READ_ORIGIN.get():
        own.source, own.staleness, own.archive = origin.source, origin.staleness, origin.archive


class ReadSource:
    """One database to read from: its pool, and the connections in use."""

    def __init__(self, name: SourceName, setting: str, pool: Any) -> None:
        self._pool = pool
        self._in_use: set[Any] = set()
        self.name: SourceName = name
        self.setting = setting

    async def acquire(self, timeout: float) -> Any:
        """A connection; waits up to `timeout` seconds for one.

        Raises:
            Overloaded: all connections stayed in use.
            TimeoutError: the server did not answer.
        """
        try:
            connection = await self._pool.acquire(timeout=timeout)
        except TimeoutError:
            if len(self._in_use) < self._pool.get_max_size():
                raise
            busy = f"all {len(self._in_use)} connections to the {self.name} database are in use"
            raise Overloaded(f"{busy}; try again in a moment") from None
        self._in_use.add(connection)
        return connection

    async def release(self, connection: Any, *, broken: bool = False) -> None:
        """Returns a connection; a broken one is closed without waiting for its server."""
        self._in_use.discard(connection)
        if broken:
            _terminate(connection)
        await self._pool.release(connection)

    def terminate_in_use(self) -> None:
        """Terminates all connections in use, so that no request waits for a server that is down."""
        for connection in list(self._in_use):
            _terminate(connection)


def _terminate(connection: Any) -> None:
    with suppress(asyncpg.InterfaceError):  # already closed and removed from its pool
        connection.terminate()


class RoutedConnection:
    """The connection of one request. It fails over to the next of `sources` when the current one fails."""

    def __init__(self, router: "ReadRouter", sources: list[ReadSource], timeout: float) -> None:
        self._router = router
        self._sources = sources
        self._timeout = timeout
        self._source: ReadSource | None = None
        self._connection: Any = None

    async def open(self) -> None:
        """Acquires a connection from the first source that provides one.

        Raises:
            Unavailable: no source provides a connection.
        """
        while True:
            source = self._sources.pop(0)
            try:
                self._connection = await source.acquire(self._timeout)
            except TimeoutError as error:
                self._raise_if_last(source, error)
            except DATABASE_ERRORS as error:
                self._report_failure(source, error)
            else:
                self._source = source
                self._router.record_read(source)
                return

    async def close(self, *, broken: bool = False) -> None:
        if self._source:
            source, self._source = self._source, None
            await source.release(self._connection, broken=broken)

    async def fetch(self, *arguments: Any) -> Any:
        return await self._call("fetch", arguments)

    async def fetchrow(self, *arguments: Any) -> Any:
        return await self._call("fetchrow", arguments)

    async def fetchval(self, *arguments: Any) -> Any:
        return await self._call("fetchval", arguments)

    async def execute(self, *arguments: Any) -> Any:
        return await self._call("execute", arguments)

    async def _call(self, method: str, arguments: tuple[Any, ...]) -> Any:
        """Calls a method of asyncpg's connection, on the next source when the current one fails."""
        while True:
            try:
                return await getattr(self._connection, method)(*arguments)
            except (*RECOVERY_CONFLICTS, *DATABASE_ERRORS) as error:
                if self._source is None or not _can_fail_over(error):
                    raise
                source, self._source = self._source, None
                await source.release(self._connection, broken=True)
                self._report_failure(source, error)
                await self.open()

    def _report_failure(self, source: ReadSource, error: Exception) -> None:
        self._router.report_failure(source, error)
        self._raise_if_last(source, error)

    def _raise_if_last(self, source: ReadSource, error: Exception) -> None:
        if not self._sources:
            log.warning("database_unavailable", source=source.name, setting=source.setting, error=repr(error))
            name = source.name if self._router.monitor else "database"
            raise Unavailable(f"the {name} ({source.setting}) did not respond in time; try again") from error


def _is_outage(error: Exception) -> bool:
    return isinstance(error, CONNECTION_LOST) or is_connection_error(error)


def _can_fail_over(error: Exception) -> bool:
    return isinstance(error, RECOVERY_CONFLICTS) or _is_outage(error)


class ReadRouter:
    """Provides connections to routes in place of a pool."""

    def __init__(
        self, primary: ReadSource | None, replica: ReadSource | None, monitor: ReplicaMonitor | None, reads: Counter
    ) -> None:
        self._primary = primary  # None: no fallback, requests fail when the replica cannot be used
        self._replica = replica  # None: no replica is configured
        self._reads = reads
        self.monitor = monitor  # of the replica
        if monitor and replica:
            monitor.on_down = replica.terminate_in_use

    @asynccontextmanager
    async def acquire(self, timeout: float = CONNECTION_TIMEOUT_SECONDS) -> AsyncIterator[RoutedConnection]:
        """A connection for the duration of the block; `timeout` limits the wait for one (seconds).

        Raises:
            Overloaded: all connections stayed in use.
            Unavailable: no database may be read from, or none responds.
        """
        connection = RoutedConnection(self, self._candidates(), timeout)
        await connection.open()
        try:
            yield connection
        except asyncio.CancelledError:  # a graceful close would wait for the end of the current statement
            await connection.close(broken=True)
            raise
        finally:
            await connection.close()

    def record_read(self, source: ReadSource) -> None:
        """Counts an acquired connection and stores its origin for the response headers."""
        self._reads.labels(source.name).inc()
        if origin := READ_ORIGIN.get():
            origin.source = source.name
            origin.staleness = self._staleness(source)

    def report_failure(self, source: ReadSource, error: Exception) -> None:
        """Reports a failed request to the monitor if it indicates an outage of the replica."""
        if self.monitor and source is self._replica and _is_outage(error):
            self.monitor.report_failure(error)

    def _staleness(self, source: ReadSource) -> float | None:
        return self.monitor.staleness() if self.monitor and source is self._replica else 0.0

    def _candidates(self) -> list[ReadSource]:
        """The databases to try, in order."""
        primary = [self._primary] if self._primary else []
        if self._replica is None or self.monitor is None:
            return primary
        problem = self.monitor.problem()
        if problem is None:
            return [self._replica, *primary]
        candidates = primary if self.monitor.primary_is_up else []
        if self._primary and self.monitor.is_up:
            # When the primary is down too, outdated data that is marked as such is better than none.
            candidates = [*candidates, self._replica]
        if not candidates:
            also = "; nor does the primary (DATABASE_URL)" if self._primary else ""
            raise Unavailable(f"{problem}{also}; try again")
        return candidates
