"""A run of the fleet: timetable -> anomalies -> producer, first the past as fast as possible, then live readings."""

import asyncio
import time
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import islice
from math import inf
from typing import Final

from deploy.simulator.anomalies import AnomalyInjector, AnomalyShares
from deploy.simulator.fleet import Fleet
from deploy.simulator.producer import ReadingProducer, Report
from deploy.simulator.readings import Record, instant, milliseconds
from deploy.simulator.timetable import Clock, clock_from, due, timetable

HOUR_MS: Final = 3_600_000
TICK_S: Final = 0.1
PROGRESS_S: Final = 5.0
SHUTDOWN_TIMEOUT_S: Final = 10.0
_SLICE: Final = 1_000


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send. Durations are in real seconds, `rate` in records a second. None is no limit.

    The backfill begins at `backfill_from`, or `backfill_hours` before the start of the live readings.
    """

    fleet: Fleet = field(default_factory=Fleet)
    shares: AnomalyShares = field(default_factory=AnomalyShares)
    live: bool = True
    speed_up: float = 1.0
    duration_s: float | None = None
    backfill_hours: float = 0.0
    backfill_from: datetime | None = None
    backfill_devices: int = 300
    rate: float | None = None


class FleetRun:
    """A run of the fleet, from the first reading to the summary."""

    def __init__(self, plan: Plan, producer: ReadingProducer, report: Report) -> None:
        self._plan = plan
        self._producer = producer
        self._report = report
        self._stop = asyncio.Event()
        self._anomalies = AnomalyInjector(plan.shares, plan.fleet.seed)
        self._started_s = time.monotonic()
        self._last_ms = 0
        self._sent = 0

    def stop(self) -> None:
        """Ends the run: no new readings are sent, and those in flight are completed."""
        self._stop.set()

    async def run(self) -> dict[str, int]:
        """Sends until the end of the plan or `stop`, waits for acknowledgements, and returns the summary."""
        progress = asyncio.create_task(self._report_progress())
        try:
            if await self._complete(self._producer.start(), grace_s=0):
                await self._complete(self._send(), grace_s=SHUTDOWN_TIMEOUT_S)
        finally:
            await self._producer.stop(SHUTDOWN_TIMEOUT_S)
            progress.cancel()
        return self.summary()

    def summary(self) -> dict[str, int]:
        """Counts of records. `sent` includes malformed records and duplicates."""
        return asdict(self._producer.counts) | asdict(self._anomalies.counts)

    async def _complete(self, work: Coroutine[None, None, None], grace_s: float) -> bool:
        """Awaits `work`, or cancels it `grace_s` seconds after `stop`. Returns whether it was completed."""
        task, stopping = asyncio.create_task(work), asyncio.create_task(self._stop.wait())
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({task}, timeout=grace_s)
        stopping.cancel()
        if task.done():
            await task
            return True
        task.cancel()
        await asyncio.wait({task})
        return False

    async def _send(self) -> None:
        plan, wall_ms = self._plan, _wall_ms()
        clock = clock_from(wall_ms, plan.speed_up if plan.live else 1, plan.duration_s)
        self._started_s = time.monotonic()
        if plan.backfill_hours or plan.backfill_from:
            await self._backfill(clock.start_ms)
        if plan.live:
            await self._live(clock)
        await self._produce(self._anomalies.drain())

    async def _backfill(self, end_ms: int) -> None:
        table = timetable(self._plan.fleet, self._plan.backfill_devices)
        begin = self._plan.backfill_from
        start_ms = milliseconds(begin) if begin else end_ms - int(self._plan.backfill_hours * HOUR_MS)
        self._report(f"backfill of {len(table.vehicles)} vehicles and their meters from {instant(start_ms)}")
        await self._produce(self._anomalies.apply(due(table, start_ms, end_ms)))
        self._report(f"backfill up to {instant(end_ms)} took {time.monotonic() - self._started_s:.1f} s")

    async def _live(self, clock: Clock) -> None:
        table = timetable(self._plan.fleet)
        last_ms = inf if self._plan.duration_s is None else _wall_ms() + self._plan.duration_s * 1000
        position_ms, wall_ms = clock.start_ms, 0
        self._report(f"live: {len(table.vehicles)} vehicles and their meters from {instant(position_ms)}")
        while not self._stop.is_set() and wall_ms < last_ms:
            wall_ms = _wall_ms()
            until_ms = max(position_ms, clock.at(wall_ms))
            await self._produce(self._anomalies.apply(due(table, position_ms, until_ms)))
            await self._producer.flush()
            position_ms = until_ms
            await self._pause(TICK_S)

    async def _produce(self, records: Iterable[Record]) -> None:
        """Passes records to the producer in slices, so that its network tasks run in between."""
        rate, stream = self._plan.rate, iter(records)
        while not self._stop.is_set() and (part := list(islice(stream, _slice(rate)))):
            await self._producer.send(part)
            self._last_ms = part[-1].at_ms
            self._sent += len(part)
            if rate:
                await self._producer.flush()
                await self._pause(self._sent / rate - (time.monotonic() - self._started_s))
            else:
                await asyncio.sleep(0)

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), seconds)

    async def _report_progress(self) -> None:
        before = 0
        while True:
            await asyncio.sleep(PROGRESS_S)
            counts = self._producer.counts
            if self._last_ms:
                self._report(
                    f"{instant(self._last_ms):%Y-%m-%d %H:%M:%S}Z: sent {counts.sent:,} "
                    f"({(counts.sent - before) / PROGRESS_S:,.0f}/s), acknowledged {counts.acknowledged:,}, "
                    f"errors {counts.errors:,}"
                )
            before = counts.sent


def _slice(rate: float | None) -> int:
    return _SLICE if rate is None else max(1, min(_SLICE, int(rate * TICK_S)))


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
