"""The breaker: when most of a topic's recent records are refused, the topic is not read any further.

closed ── too many of the last records are refused ──> open ── operator closes it ──> closed
                                                        └── operator lets them through ──> ... ── share low again ──> closed

The state lies in the database, for all replicas and for operators; each replica looks every two seconds, and one that stops a
topic tells of it at once. With every change of state the windows begin anew: what was seen before it has been judged.
"""

import asyncio
import contextlib
from collections import deque
from datetime import datetime
from typing import Any, Final

import asyncpg
import structlog

from consumer.monitoring.health import Health
from consumer.monitoring.metrics import Metrics
from consumer.settings import ConsumerSettings
from sql.connection import DATABASE_ERRORS
from sql.queries import queries

log = structlog.get_logger(__name__)

OPEN: Final = "open"
REASON: Final = "breaker_open"


class Window:
    """How many of the last records were refused: at least `size` of them, in the portions they came in."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._portions: deque[tuple[int, int]] = deque()
        self.seen = 0
        self.refused = 0

    def add(self, seen: int, refused: int) -> None:
        """A portion of records, the newest."""
        self._portions.append((seen, refused))
        self.seen += seen
        self.refused += refused
        while self.seen - self._portions[0][0] >= self._size:
            oldest = self._portions.popleft()
            self.seen -= oldest[0]
            self.refused -= oldest[1]

    def exceeds(self, share: float) -> bool:
        """Whether more than `share` (0 to 1) of a full window was refused."""
        return self.seen >= self._size and self.refused > share * self.seen


class Breaker:
    """One replica's view of all its topics. `stopped` are those that must not be read, each with the reason in words."""

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
        self._tripped = asyncio.Event()
        self._unrecorded: dict[str, str] = {}
        self.stopped: dict[str, str] = {}

    def trips(self, topic: str, seen: int, refused: int) -> bool:
        """Note a portion of decoded records; whether the topic must be stopped before they are taken."""
        window = self._windows.setdefault(topic, Window(self._size))
        window.add(seen, refused)
        if self._lets_through(topic) or not window.exceeds(self._share):
            return False
        detail = f"{window.refused} of the last {window.seen} records were refused"
        self.stopped[topic] = self._unrecorded[topic] = detail
        del self._windows[topic]
        self._tripped.set()
        log.error("breaker_opened", topic=topic, detail=detail)
        self._report()
        return True

    async def wait(self, seconds: float) -> None:
        """Until it is time to look: after `seconds`, or at once when a topic was stopped here."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._tripped.wait(), seconds)
        self._tripped.clear()

    async def look(self) -> None:
        """Tell the database what has happened here, and learn what others have done."""
        try:
            async with self._pool.acquire() as connection:
                await self._tell(connection)
                rows = [row async for row in queries.breakers(connection, consumer_group=self._group)]
        except DATABASE_ERRORS as error:
            log.debug("breakers_unknown", error=repr(error))
            return
        states = {row["topic"]: (row["state"], row["changed_at"]) for row in rows}
        for topic in [each for each in self._windows if self._states.get(each) != states.get(each)]:
            del self._windows[topic]
        self._states = states
        self.stopped = {row["topic"]: row["detail"] for row in rows if row["state"] == OPEN} | self._unrecorded
        self._report()

    def _lets_through(self, topic: str) -> bool:
        return topic in self._states and self._states[topic][0] != OPEN

    async def _tell(self, connection: Any) -> None:
        for topic, detail in list(self._unrecorded.items()):
            await queries.open_breaker(connection, consumer_group=self._group, topic=topic, detail=detail)
            self._unrecorded.pop(topic, None)
        for topic in filter(self._is_good_again, filter(self._lets_through, self._states)):
            _, since = self._states[topic]
            if await queries.end_let_through(connection, consumer_group=self._group, topic=topic, since=since):
                log.info("breaker_closed", topic=topic, reason="the share of refused records is low again")

    def _is_good_again(self, topic: str) -> bool:
        window = self._windows.get(topic)
        return window is not None and window.seen >= self._size and not window.exceeds(self._share)

    def _report(self) -> None:
        self._metrics.paused.labels(REASON).set(1 if self.stopped else 0)
        self._metrics.breaker_open.clear()
        for topic in self.stopped:
            self._metrics.breaker_open.labels(topic).set(1)
        if self.stopped:
            topics = "; ".join(f"{topic}: {detail}" for topic, detail in self.stopped.items())
            self._health.waits(REASON, f"not read until somebody runs `python -m consumer breaker close`: {topics}")
        else:
            self._health.goes_on(REASON)
