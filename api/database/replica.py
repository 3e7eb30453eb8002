"""The replica, watched: does it answer, and how old is what it answers? Asked once a second, apart from all requests.

A request never finds out by waiting: it asks `problem()`, which costs nothing.
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

LOOK_EVERY_SECONDS: Final = 1.0
ANSWERS_WITHIN_SECONDS: Final = 2.0
SILENT_TIMES: Final = 2  # in a row until it counts as away; one alone may be a busy machine, a refusal counts at once


class ServerProbe:
    """Short questions on a connection of its own: the pools of the requests may be busy."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    async def ask(self, question: Callable[[Any], Any]) -> Any:
        """The answer.

        Raises:
            TimeoutError: when there is none in time.
            asyncpg.PostgresError, OSError: when the server cannot be asked.
        """
        async with asyncio.timeout(ANSWERS_WITHIN_SECONDS):
            connection = await self._pool.acquire()
        try:
            async with asyncio.timeout(ANSWERS_WITHIN_SECONDS):
                return await question(connection)
        except BaseException:
            with suppress(asyncpg.InterfaceError):  # it is closed already, and its pool has noticed
                connection.terminate()  # giving it back in order would wait for the server
            raise
        finally:
            await self._pool.release(connection)


class MonitoredServer:
    """Whether a server answers, by its probe and by what requests report."""

    def __init__(self, setting: str, probe: ServerProbe) -> None:
        self._probe = probe
        self._silent = 0
        self.setting = setting
        self.away: str | None = None

    async def ask(self, question: Callable[[Any], Any]) -> Any:
        """The answer, or None when there is none; notes which."""
        try:
            answer = await self._probe.ask(question)
        except TimeoutError:
            self._silent += 1
            if self._silent >= SILENT_TIMES:
                self.fails(f"no answer within {ANSWERS_WITHIN_SECONDS:g} s")
        except DATABASE_ERRORS as error:
            self.fails(str(error) or repr(error))
        else:
            self._silent = 0
            if self.away is not None:
                log.info("database_back", setting=self.setting)
            self.away = None
            return answer
        return None

    def fails(self, why: str) -> None:
        """It does not answer; only the next probe may find otherwise."""
        if self.away is None:
            log.warning("database_away", setting=self.setting, error=why)
        self.away = why


class ReplicaMonitor:
    """`problem` says why it should not be read from now; `on_away` is called when it stops answering."""

    def __init__(self, replica: MonitoredServer, primary: MonitoredServer, limit_seconds: float) -> None:
        self._replica = replica
        self._primary = primary
        self._limit = limit_seconds
        self._freshness = ReplicaStaleness()
        self.on_away: Callable[[], None] = lambda: None

    @property
    def answers(self) -> bool:
        """Whether it did when it was asked last."""
        return self._replica.away is None

    @property
    def primary_answers(self) -> bool:
        """The same of the primary."""
        return self._primary.away is None

    def staleness(self) -> float | None:
        """Seconds by which its answers are older than the primary's at most; None when nothing is known."""
        return self._freshness.staleness(time.monotonic())

    def problem(self) -> str | None:
        """Why it should not be read from, in words for operators; None when it may be."""
        if self._replica.away is not None:
            return f"the replica ({self._replica.setting}) does not answer"
        staleness = self.staleness()
        if staleness is None:
            return f"how old the replica's answers are ({self._replica.setting}) is not known yet"
        if staleness > self._limit:
            return (
                f"the replica ({self._replica.setting}) may be {staleness:.0f} s behind, more than "
                f"READ_STALENESS_LIMIT_SECONDS={self._limit:g} allows"
            )
        return None

    def fails(self, error: BaseException) -> None:
        """A request has found that it does not answer."""
        self._replica.fails(repr(error))
        self._went_away()

    async def look(self) -> None:
        """One look at both servers."""
        began = time.monotonic()
        standing, primary = await asyncio.gather(
            self._replica.ask(queries.replica_position), self._primary.ask(queries.primary_position)
        )
        if primary is not None:
            self._freshness.primary_is(began, primary["position"])
        if standing is None:
            if not self.answers:
                self._went_away()
        elif standing["standby"]:
            self._freshness.replica_is(began, standing["replayed"], standing["committed_ago"])
        else:
            self._freshness.replica_is_primary()

    async def watch(self) -> None:
        """Look until cancelled."""
        while True:
            try:
                await self.look()
            except Exception:  # whatever it is, the next look may succeed; without looks nobody would ever know
                log.exception("replica_not_looked_at")
            await asyncio.sleep(LOOK_EVERY_SECONDS)

    def _went_away(self) -> None:
        self._freshness.forget()
        self.on_away()


def is_connection_fault(error: BaseException) -> bool:
    """Whether an error tells of the server or the way to it, and not of a statement."""
    return isinstance(error, CONNECTION_ERRORS) and not isinstance(error, ValueError)
