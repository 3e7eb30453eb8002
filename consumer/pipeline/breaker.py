"""The circuit breaker: stops reading a topic when most of its recent records are rejected, or when our own code fails on it.

closed ── too many of the last records rejected ──> open ── operator closes it ──────────> closed
   └──── an error of our own code ──────────────────┘└── operator lets records through ──> ... ── share low again ──> closed

The state is stored in the database, shared by all consumers and operators. Each consumer synchronizes every two seconds, and at
once when it opens a breaker itself. Every change of state starts new windows: older records have been judged already.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Final

import asyncpg
import structlog

from consumer.monitoring.health import Health
from consumer.monitoring.metrics import Metrics
from consumer.settings import ConsumerSettings
from consumer.storage.errors import describe
from sql.connection import DATABASE_ERRORS
from sql.queries import queries

log = structlog.get_logger(__name__)

OPEN: Final = "open"
REASON: Final = "breaker_open"
INTERNAL_ERROR: Final = "internal_error"  # the stored detail of a topic that our own code has stopped begins with it
Publish = Callable[..., Awaitable[None]]


class Window:
    """The share of rejected records among the last `size` or slightly more; whole portions are added and dropped."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._portions: deque[tuple[int, int]] = deque()
        self.records = 0
        self.rejected = 0

    def add(self, records: int, rejected: int) -> None:
        self._portions.append((records, rejected))
        self.records += records
        self.rejected += rejected
        while self.records - self._portions[0][0] >= self._size:
            oldest = self._portions.popleft()
            self.records -= oldest[0]
            self.rejected -= oldest[1]

    def exceeds(self, share: float) -> bool:
        """Whether the window is full and more than `share` (0 to 1) of it was rejected."""
        return self.records >= self._size and self.rejected > share * self.records


class Breaker:
    """The breakers of all topics. `stopped` has each topic that must not be read, with the reason in words."""

    def __init__(
        self, pool: "asyncpg.Pool[asyncpg.Record]", settings: ConsumerSettings, metrics: Metrics, health: Health
    ) -> None:
        self._pool = pool
        self._group = settings.kafka_group_id
        self._metrics = metrics
        self._health = health
        self._share = settings.breaker_share
        self._size = settings.breaker_window_records
        self._windows: dict[str, Window] = {}
        self._states: dict[str, tuple[str, datetime]] = {}
        self._opened = asyncio.Event()
        self._unpublished: dict[str, tuple[str, Publish]] = {}
        self.stopped: dict[str, str] = {}

    def record(self, topic: str, records: int, rejected: int) -> bool:
        """Record a portion of decoded records; whether it opens the breaker, so that the portion must not be consumed."""
        window = self._windows.setdefault(topic, Window(self._size))
        window.add(records, rejected)
        if self._lets_through(topic) or not window.exceeds(self._share):
            return False
        self._open(topic, f"{window.rejected} of the last {window.records} records were rejected", queries.open_breaker)
        return True

    def stop(self, topic: str, error: Exception) -> None:
        """Open the breaker because of an error of our own code that cannot be attributed to records, also while records are let
        through."""
        log.critical(INTERNAL_ERROR, topic=topic, error=describe(error), exc_info=error)
        self._open(topic, f"{INTERNAL_ERROR}: {describe(error)}", queries.stop_topic)

    async def wait(self, seconds: float) -> None:
        """Wait until the next synchronization is due: after `seconds`, or when a breaker was opened here."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._opened.wait(), seconds)
        self._opened.clear()

    async def sync(self) -> None:
        """Write the changes made here to the database, and read those of other consumers and operators."""
        try:
            async with self._pool.acquire() as connection:
                await self._publish(connection)
                rows = [row async for row in queries.breakers(connection, consumer_group=self._group)]
        except DATABASE_ERRORS as error:
            log.debug("breakers_unavailable", error=repr(error))
            return
        states = {row["topic"]: (row["state"], row["changed_at"]) for row in rows}
        for topic in [each for each in self._windows if self._states.get(each) != states.get(each)]:
            del self._windows[topic]
        self._states = states
        self.stopped = {row["topic"]: row["detail"] for row in rows if row["state"] == OPEN}
        self.stopped |= {topic: detail for topic, (detail, _) in self._unpublished.items()}
        self._report()

    def _open(self, topic: str, detail: str, publish: Publish) -> None:
        self.stopped[topic], self._unpublished[topic] = detail, (detail, publish)
        self._windows.pop(topic, None)
        self._opened.set()
        log.error("breaker_opened", topic=topic, detail=detail)
        self._report()

    def _lets_through(self, topic: str) -> bool:
        return topic in self._states and self._states[topic][0] != OPEN

    async def _publish(self, connection: Any) -> None:
        for topic, opening in list(self._unpublished.items()):
            detail, publish = opening
            await publish(connection, consumer_group=self._group, topic=topic, detail=detail)
            if self._unpublished[topic] is opening:
                del self._unpublished[topic]
        for topic in filter(self._has_recovered, filter(self._lets_through, self._states)):
            _, since = self._states[topic]
            if await queries.end_let_through(connection, consumer_group=self._group, topic=topic, since=since):
                log.info("breaker_closed", topic=topic, reason="the share of rejected records is low again")

    def _has_recovered(self, topic: str) -> bool:
        window = self._windows.get(topic)
        return window is not None and window.records >= self._size and not window.exceeds(self._share)

    def _report(self) -> None:
        self._metrics.paused.labels(REASON).set(1 if self.stopped else 0)
        self._metrics.breaker_open.clear()
        for topic in self.stopped:
            self._metrics.breaker_open.labels(topic).set(1)
        if self.stopped:
            topics = "; ".join(f"{topic}: {detail}" for topic, detail in self.stopped.items())
            self._health.block(REASON, f"stopped until an operator runs `python -m consumer breaker close`: {topics}")
        else:
            self._health.unblock(REASON)
