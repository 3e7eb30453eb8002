"""Health of the replica: whether it responds, and how far its data may be behind the primary.

Both servers are checked once a second, independently of requests. A request calls `problem()`, which does no I/O, instead of
waiting for a replica that may be down.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import asyncpg
import structlog

from api.database.staleness import ReplicaStaleness
from sql.connection import CONNECTION_ERRORS, DATABASE_ERRORS
from sql.queries import queries

log = structlog.get_logger(__name__)

CHECK_EVERY_SECONDS: Final = 1.0
QUERY_TIMEOUT_SECONDS: Final = 2.0
MAX_TIMEOUTS: Final = (
    2  # in a row until a server is down: a single one may mean a busy machine; an error counts at once
)


class ServerProbe:
    """Short queries over a pool of its own, because the pools of the requests may be exhausted."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    async def query(self, query: Callable[[Any], Any]) -> Any:
        """The result of a query, which is called with a connection.

        Raises:
            TimeoutError: no result within QUERY_TIMEOUT_SECONDS.
            asyncpg.PostgresError, OSError: the query failed, or the server cannot be reached.
        """
        async with asyncio.timeout(QUERY_TIMEOUT_SECONDS):
            connection = await self._pool.acquire()
        try:
            async with asyncio.timeout(QUERY_TIMEOUT_SECONDS):
                return await query(connection)
        except BaseException:
            with suppress(asyncpg.InterfaceError):  # already closed and removed from its pool
                connection.terminate()  # a graceful close would wait for the server
            raise
        finally:
            await self._pool.release(connection)


class MonitoredServer:
    """Whether a server is up, according to its probe and to errors that requests report."""

    def __init__(self, setting: str, probe: ServerProbe) -> None:
        self._probe = probe
        self._timeouts = 0
        self.setting = setting
        self.is_up = True

    async def query(self, query: Callable[[Any], Any]) -> Any:
        """The result of a query, or None when it fails. Updates `is_up`."""
        try:
            result = await self._probe.query(query)
        except TimeoutError:
            self._timeouts += 1
            if self._timeouts >= MAX_TIMEOUTS:
                self.mark_down(f"no response within {QUERY_TIMEOUT_SECONDS:g} s")
        except DATABASE_ERRORS as error:
            self.mark_down(str(error) or repr(error))
        else:
            self._timeouts = 0
            if not self.is_up:
                log.info("database_recovered", setting=self.setting)
            self.is_up = True
            return result
        return None

    def mark_down(self, error: str) -> None:
        """Marks the server as down until the next successful query of the probe."""
        if self.is_up:
            log.warning("database_down", setting=self.setting, error=error)
        self.is_up = False


class ReplicaMonitor:
    """Health and staleness of a replica. `on_down` is called whenever a check or a request finds that the replica is down."""

    def __init__(self, replica: MonitoredServer, primary: MonitoredServer, limit_seconds: float) -> None:
        self._replica = replica
        self._primary = primary
        self._limit_seconds = limit_seconds
        self._staleness = ReplicaStaleness()
        self.on_down: Callable[[], None] = lambda: None

    @property
    def is_up(self) -> bool:
        return self._replica.is_up

    @property
    def primary_is_up(self) -> bool:
        return self._primary.is_up

    def staleness(self) -> float | None:
        """Upper bound in seconds by which the replica is behind the primary; None while unknown."""
        return self._staleness.seconds(time.monotonic())

    def problem(self) -> str | None:
        """Why the replica must not be read from, for operators; None when it may be."""
        if not self._replica.is_up:
            return f"the replica ({self._replica.setting}) does not respond"
        staleness = self.staleness()
        if staleness is None:
            return f"the replication lag of the replica ({self._replica.setting}) is not known yet"
        if staleness > self._limit_seconds:
            return (
                f"the replica ({self._replica.setting}) may be {staleness:.0f} s behind, more than "
                f"READ_STALENESS_LIMIT_SECONDS={self._limit_seconds:g} allows"
            )
        return None

    def report_failure(self, error: BaseException) -> None:
        """Marks the replica as down after a request lost its connection to it."""
        self._replica.mark_down(repr(error))
        self._went_down()

    async def check(self) -> None:
        """Queries both servers once."""
        started = time.monotonic()
        replica, primary = await asyncio.gather(
            self._replica.query(queries.replica_position), self._primary.query(queries.primary_position)
        )
        if primary is not None:
            self._staleness.record_primary(started, primary["position"])
        if replica is None:
            if not self.is_up:
                self._went_down()
        elif replica["standby"]:
            self._staleness.record_replica(started, replica["replayed"], replica["committed_ago"])
        else:
            self._staleness.record_promotion()

    async def run(self) -> None:
        """Checks both servers every CHECK_EVERY_SECONDS until cancelled."""
        while True:
            try:
                await self.check()
            except Exception:  # an unexpected error must not end the monitoring; the next check may succeed
                log.exception("replica_check_failed")
            await asyncio.sleep(CHECK_EVERY_SECONDS)

    def _went_down(self) -> None:
        self._staleness.reset()
        self.on_down()


def is_connection_error(error: BaseException) -> bool:
    """Whether an error is about the server or the connection to it, and not about a statement."""
    return isinstance(error, CONNECTION_ERRORS) and not isinstance(error, ValueError)
