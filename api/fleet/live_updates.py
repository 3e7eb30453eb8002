"""Database -> one poller, only while somebody listens -> the summary, newest readings of watched vehicles -> listeners."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from api.fleet.reading_rate import ReadingRate
from api.fleet.summary import last_summary
from api.problems import Unavailable
from schemas.responses.base import ResponseBody, VehicleStatus
from schemas.responses.fleet import UpdatesUnavailable
from sql.queries import queries

log = structlog.get_logger(__name__)

SUMMARY_EVERY_SECONDS: Final = 2.0
VEHICLES_EVERY_SECONDS: Final = 1.0
CONNECTION_WITHIN_SECONDS: Final = 5.0
AWAY: Final = UpdatesUnavailable(detail="the database does not answer; this goes on as soon as it does")


class Subscriber:
    """One open stream. It is told the newest of each kind of event, so one that reads slowly misses some and never lags."""

    def __init__(self, vehicle_id: str | None) -> None:
        self.vehicle_id = vehicle_id
        self._newest_reading = datetime.min.replace(tzinfo=UTC)
        self._news: dict[str, str] = {}
        self._woken = asyncio.Event()
        self._ended = False

    def tell(self, event: str, data: str) -> None:
        """Something has happened; `data` is JSON."""
        self._news.pop(event, None)  # so that what is told last comes last
        self._news[event] = data
        self._woken.set()

    def show(self, status: VehicleStatus) -> None:
        """The newest reading of the vehicle that it watches, which it may know already."""
        if status.recorded_at > self._newest_reading:
            self._newest_reading = status.recorded_at
            self.tell("vehicle", _json(status))

    def end(self) -> None:
        """Nothing more comes."""
        self._ended = True
        self._woken.set()

    async def news(self) -> AsyncIterator[tuple[str, str]]:
        """Events and their JSON, until it ends."""
        while not self._ended:
            await self._woken.wait()
            self._woken.clear()
            news, self._news = self._news, {}
            for each in news.items():
                yield each


class LiveUpdates:
    """Looks for news while anybody listens, once for all of them."""

    def __init__(self, database: Any, pace: ReadingRate) -> None:
        self._database = database
        self._pace = pace
        self._listeners: set[Subscriber] = set()
        self._latest: tuple[str, str] | None = None
        self._summary_due = 0.0
        self._look_now = asyncio.Event()
        self._poller: asyncio.Task[None] | None = None
        self._stopping = False

    @contextmanager
    def listen(self, vehicle_id: str | None) -> Iterator[Subscriber]:
        """One more listener, for as long as the block runs; it is told at once how things stand.

        Raises:
            Unavailable: the service is stopping.
        """
        if self._stopping:
            raise Unavailable("the service is stopping; connect again")
        listener = Subscriber(vehicle_id)
        self._listeners.add(listener)
        if self._latest:
            listener.tell(*self._latest)
        self._look_now.set()
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll(), name="live")
        try:
            yield listener
        finally:
            self._listeners.discard(listener)
            self._look_now.set()

    def end_streams(self) -> None:
        """Let every stream end. To be called before the server waits for its connections to close."""
        self._stopping = True
        for listener in self._listeners:
            listener.end()

    async def stop(self) -> None:
        """End the streams, and the poller."""
        self.end_streams()
        if self._poller:
            self._poller.cancel()
            await asyncio.wait({self._poller})

    async def _poll(self) -> None:
        self._summary_due = 0.0
        while self._listeners:
            self._look_now.clear()
            try:
                await self._look()
            except Exception as error:  # noqa: BLE001 - whatever it is, listeners are told, and the next look may succeed
                self._tell_away(error)
            try:
                await asyncio.wait_for(self._look_now.wait(), VEHICLES_EVERY_SECONDS)
            except TimeoutError:
                continue
        self._latest = None

    async def _look(self) -> None:
        async with self._database.acquire(timeout=CONNECTION_WITHIN_SECONDS) as connection:
            now = asyncio.get_running_loop().time()
            if now >= self._summary_due:
                self._tell_all("fleet", await last_summary(connection, self._pace))
                self._summary_due = now + SUMMARY_EVERY_SECONDS
            if watched := {each.vehicle_id for each in self._listeners} - {None}:
                rows = queries.vehicle_status_of(connection, vehicle_ids=list(watched))
                self._show({row["vehicle_id"]: VehicleStatus(**row) async for row in rows})

    def _show(self, found: dict[str, VehicleStatus]) -> None:
        for listener in self._listeners:
            if listener.vehicle_id in found:
                listener.show(found[listener.vehicle_id])

    def _tell_away(self, error: Exception) -> None:
        self._summary_due = 0.0
        if self._latest is None or self._latest[0] != "unavailable":
            log.warning("live_unavailable", error=repr(error))
            self._tell_all("unavailable", AWAY)

    def _tell_all(self, event: str, answer: ResponseBody) -> None:
        self._latest = (event, _json(answer))
        for listener in self._listeners:
            listener.tell(*self._latest)


def _json(answer: ResponseBody) -> str:
    return answer.model_dump_json(by_alias=True)
