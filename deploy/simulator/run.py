"""The fleet at work: timetable -> misbehave -> producer, first the past as fast as it goes, then the present."""

import asyncio
import time
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import islice
from math import inf
from typing import Final

from deploy.simulator.anomalies import Misbehaviour, Shares
from deploy.simulator.fleet import Fleet
from deploy.simulator.producer import ReadingProducer, Say
from deploy.simulator.readings import Record, instant
from deploy.simulator.timetable import Clock, clock_from, due, timetable

HOUR_MS: Final = 3_600_000
TICK_S: Final = 0.1
PROGRESS_S: Final = 5.0
PATIENCE_S: Final = 10.0
_SLICE: Final = 1_000


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send. Durations in real seconds, `rate` in records a second; None is without limit."""

    fleet: Fleet = field(default_factory=Fleet)
    shares: Shares = field(default_factory=Shares)
    live: bool = True
    speed_up: float = 1.0
    duration_s: float | None = None
    backfill_hours: float = 0.0
    backfill_devices: int = 300
    rate: float | None = None


class FleetRun:
    """One run of the fleet, from the first reading to the summary."""

    def __init__(self, plan: Plan, producer: ReadingProducer, say: Say) -> None:
        self._plan = plan
        self._producer = producer
        self._say = say
        self._stop = asyncio.Event()
        self._misbehaviour = Misbehaviour(plan.shares, plan.fleet.seed)
        self._started_s = time.monotonic()
        self._reached_ms = 0
        self._passed_on = 0

    def stop(self) -> None:
        """Send nothing new; what is under way is finished."""
        self._stop.set()

    async def run(self) -> dict[str, int]:
        """Send until the end of the plan or `stop`, wait for Kafka's acknowledgements, and give the summary."""
        progress = asyncio.create_task(self._report())
        try:
            if await self._finish(self._producer.start(), patience_s=0):
                await self._finish(self._send(), patience_s=PATIENCE_S)
        finally:
            await self._producer.stop(PATIENCE_S)
            progress.cancel()
        return self.summary()

    def summary(self) -> dict[str, int]:
        """Counts of records; `sent` includes the malformed ones and the duplicates."""
        return asdict(self._producer.tally) | asdict(self._misbehaviour.done)

    async def _finish(self, work: Coroutine[None, None, None], patience_s: float) -> bool:
        """Do the work; once stopped, wait `patience_s` more and then give it up. Says whether it got done."""
        task, stopping = asyncio.create_task(work), asyncio.create_task(self._stop.wait())
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({task}, timeout=patience_s)
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
        if plan.backfill_hours:
            await self._backfill(clock.start_ms)
        if plan.live:
            await self._live(clock)
        await self._pass_on(self._misbehaviour.release())

    async def _backfill(self, end_ms: int) -> None:
        table = timetable(self._plan.fleet, self._plan.backfill_devices)
        start_ms = end_ms - int(self._plan.backfill_hours * HOUR_MS)
        self._say(f"backfill of {len(table.vehicles)} vehicles and their meters from {instant(start_ms)}")
        await self._pass_on(self._misbehaviour.apply(due(table, start_ms, end_ms)))
        self._say(f"backfill up to {instant(end_ms)} took {time.monotonic() - self._started_s:.1f} s")

    async def _live(self, clock: Clock) -> None:
        table = timetable(self._plan.fleet)
        last_ms = inf if self._plan.duration_s is None else _wall_ms() + self._plan.duration_s * 1000
        position_ms, wall_ms = clock.start_ms, 0
        self._say(f"live: {len(table.vehicles)} vehicles and their meters from {instant(position_ms)}")
        while not self._stop.is_set() and wall_ms < last_ms:
            wall_ms = _wall_ms()
            until_ms = max(position_ms, clock.at(wall_ms))
            await self._pass_on(self._misbehaviour.apply(due(table, position_ms, until_ms)))
            await self._producer.push()
            position_ms = until_ms
            await self._pause(TICK_S)

    async def _pass_on(self, records: Iterable[Record]) -> None:
        """Hand records to the producer in slices, so that its network tasks get their turn."""
        rate, stream = self._plan.rate, iter(records)
        while not self._stop.is_set() and (part := list(islice(stream, _slice(rate)))):
            await self._producer.send(part)
            self._reached_ms = part[-1].at_ms
            self._passed_on += len(part)
            if rate:
                await self._producer.push()
                await self._pause(self._passed_on / rate - (time.monotonic() - self._started_s))
            else:
                await asyncio.sleep(0)

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), seconds)

    async def _report(self) -> None:
        before = 0
        while True:
            await asyncio.sleep(PROGRESS_S)
            tally = self._producer.tally
            if self._reached_ms:
                self._say(
                    f"{instant(self._reached_ms):%Y-%m-%d %H:%M:%S}Z: sent {tally.sent:,} "
                    f"({(tally.sent - before) / PROGRESS_S:,.0f}/s), acknowledged {tally.acknowledged:,}, "
                    f"errors {tally.errors:,}"
                )
            before = tally.sent


def _slice(rate: float | None) -> int:
    return _SLICE if rate is None else max(1, min(_SLICE, int(rate * TICK_S)))


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
