"""Live updates for event streams: database -> one poller while there are subscribers -> events -> all subscribers."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import chain
from typing import Any, Final

import structlog

from api.fleet.reading_rate import ReadingRates
from api.fleet.summary import FleetFigures, last_figures, summarize
from api.problems import Unavailable
from schemas.responses.base import ResponseBody
from schemas.responses.devices import VehicleStatus
from schemas.responses.fleet import UpdatesUnavailable
from sql.queries import queries

log = structlog.get_logger(__name__)

SUMMARY_EVERY_SECONDS: Final = 2.0
VEHICLES_EVERY_SECONDS: Final = 1.0
CONNECTION_TIMEOUT_SECONDS: Final = 5.0
UNAVAILABLE: Final = UpdatesUnavailable(detail="the database does not respond; the updates resume as soon as it does")


class Subscriber:
    """One open event stream. Only the newest event of each type is kept, so a slow client skips events and never lags."""

    def __init__(self, vehicle_id: str | None) -> None:
        self.vehicle_id = vehicle_id
        self._newest_reading = datetime.min.replace(tzinfo=UTC)
        self._pending: dict[str, str] = {}
        self._woken = asyncio.Event()
        self._ended = False

    def send(self, event: str, data: str) -> None:
        """Queues an event with its JSON; an event of the same type that is still queued is replaced."""
        self._pending.pop(event, None)  # moves the event to the end of the queue
        self._pending[event] = data
        self._woken.set()

    def update(self, status: VehicleStatus) -> None:
        """Sends the status of the watched vehicle unless it was sent before."""
        if status.recorded_at > self._newest_reading:
            self._newest_reading = status.recorded_at
            self.send("vehicle", _json(status))

    def end(self) -> None:
        """Ends the stream."""
        self._ended = True
        self._woken.set()

    async def events(self) -> AsyncIterator[tuple[str, str]]:
        """Events with their JSON, until the stream ends."""
        while not self._ended:
            await self._woken.wait()
            self._woken.clear()
            pending, self._pending = self._pending, {}
            for event in pending.items():
                yield event


class LiveUpdates:
    """Polls all cells while there are subscribers, once for all of them."""

    def __init__(self, cells: Any, rates: ReadingRates) -> None:
        self._cells = cells
        self._rates = rates
        self._subscribers: set[Subscriber] = set()
        self._latest: tuple[str, str] | None = None
        self._summary_due = 0.0
        self._poll_now = asyncio.Event()
        self._poller: asyncio.Task[None] | None = None
        self._stopping = False

    @contextmanager
    def subscribe(self, vehicle_id: str | None) -> Iterator[Subscriber]:
        """A subscriber for the duration of the block. It receives the current state at once.

        Raises:
            Unavailable: the service is stopping.
        """
        if self._stopping:
            raise Unavailable("the service is stopping; connect again")
        subscriber = Subscriber(vehicle_id)
        self._subscribers.add(subscriber)
        if self._latest:
            subscriber.send(*self._latest)
        self._poll_now.set()
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._run(), name="live-updates")
        try:
            yield subscriber
        finally:
            self._subscribers.discard(subscriber)
            self._poll_now.set()

    def end_streams(self) -> None:
        """Ends all streams. To be called before the server waits for its connections to close."""
        self._stopping = True
        for subscriber in self._subscribers:
            subscriber.end()

    async def stop(self) -> None:
        """Ends all streams and the poller."""
        self.end_streams()
        if self._poller:
            self._poller.cancel()
            await asyncio.wait({self._poller})

    async def _run(self) -> None:
        self._summary_due = 0.0
        while self._subscribers:
            self._poll_now.clear()
            try:
                await self._poll()
            except Exception as error:  # noqa: BLE001 - whatever the error, the next poll may succeed
                self._publish_unavailable(error)
            try:
                await asyncio.wait_for(self._poll_now.wait(), VEHICLES_EVERY_SECONDS)
            except TimeoutError:
                continue
        self._latest = None

    async def _poll(self) -> None:
        now = asyncio.get_running_loop().time()
        summary_is_due = now >= self._summary_due
        watched = list({each.vehicle_id for each in self._subscribers} - {None})

        async def read(cell: Any) -> tuple[FleetFigures | None, list[VehicleStatus]]:
            async with cell.database.acquire(timeout=CONNECTION_TIMEOUT_SECONDS) as connection:
                figures = await last_figures(connection) if summary_is_due else None
                if not watched:
                    return figures, []
                rows = queries.vehicle_status_of(connection, vehicle_ids=watched)
                return figures, [VehicleStatus(**row) async for row in rows]

        answers = await self._cells.ask(read)
        if summary_is_due:
            figures = {name: each for name, (each, _) in answers.parts.items() if each}
            self._publish("fleet", summarize(figures, self._rates, answers.unavailable))
            self._summary_due = now + SUMMARY_EVERY_SECONDS
        self._update_vehicles(list(chain.from_iterable(statuses for _, statuses in answers.parts.values())))

    def _update_vehicles(self, statuses: list[VehicleStatus]) -> None:
        for subscriber in self._subscribers:
            for status in statuses:
                if subscriber.vehicle_id == status.vehicle_id:
                    subscriber.update(status)

    def _publish_unavailable(self, error: Exception) -> None:
        self._summary_due = 0.0
        if self._latest is None or self._latest[0] != "unavailable":
            log.warning("live_updates_unavailable", error=repr(error))
            self._publish("unavailable", UNAVAILABLE)

    def _publish(self, event: str, body: ResponseBody) -> None:
        self._latest = (event, _json(body))
        for subscriber in self._subscribers:
            subscriber.send(*self._latest)


def _json(body: ResponseBody) -> str:
    return body.model_dump_json(by_alias=True)
