"""Maintenance is interrupted at a step: by a kill, a freeze, an outage, or the end of its sessions."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Final

import asyncpg

from tests.faults.attacks.database import own_postgres
from tests.faults.testbed import Testbed
from tests.support.database import locked_tables
from tests.support.records import meter, vehicle
from tests.support.waiting import until

DAY: Final = timedelta(days=1)
HELD: Final = (
    "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' "
    "AND application_name = $1 AND query ~ $2"
)
END_SESSIONS: Final = (
    "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = current_database() "
    "AND application_name IN ('energy-maintain', 'energy-housekeeping')"
)


class Way(Enum):
    """How maintenance is interrupted. Of a frozen one the server ends the sessions, and another one takes over."""

    KILL = 0
    SESSIONS_END = 1
    FREEZE = 2
    OUTAGE = 3


@dataclass(frozen=True, slots=True)
class Hold:
    """A table lock at which maintenance waits, in a query that matches this."""

    table: str
    mode: str = "EXCLUSIVE"
    query: str = "."


async def start_at_rest(testbed: Testbed) -> None:
    """One consumer, and maintenance with nothing left to do."""
    if not testbed.running:
        testbed.start()
        await testbed.until_caught_up()
        await testbed.until_at_rest()


async def interrupt_at_lock(testbed: Testbed, session: str, hold: Hold, way: Way, **settings: str) -> None:
    """Start maintenance, and interrupt it where a session of this application_name waits for a table."""

    async def is_held() -> bool:
        return bool(await testbed.database.value(HELD, session, hold.query))

    async with _locked(testbed, hold):
        await testbed.services.restart_maintenance(**settings)
        await until(is_held, f"maintenance waits for {hold.table}")
        await _interrupt(testbed, way, settings)
    await _recover(testbed)


async def interrupt_at_file(testbed: Testbed, pattern: str, way: Way, **settings: str) -> None:
    """Start maintenance, and interrupt it as soon as it has written to a file of the archive whose name matches this."""
    begun = time.time()

    async def is_written() -> bool:
        with suppress(FileNotFoundError):  # it has got its final name meanwhile
            return any(file.stat().st_mtime >= begun for file in testbed.services.archive.rglob(pattern))
        return False

    await testbed.services.restart_maintenance(**settings)
    await until(is_written, f"maintenance writes {pattern}", every=0.001)
    await _interrupt(testbed, way, settings)
    await _recover(testbed)


async def _interrupt(testbed: Testbed, way: Way, settings: dict[str, str]) -> None:
    match way:
        case Way.KILL:
            await testbed.services.kill_maintenance()
        case Way.SESSIONS_END:
            await testbed.database.value(END_SESSIONS)
        case Way.FREEZE:
            testbed.services.freeze_maintenance()
            await testbed.database.value(END_SESSIONS)
            testbed.services.start_maintenance(**settings)
        case Way.OUTAGE:
            postgres = own_postgres(testbed)
            await asyncio.to_thread(postgres.kill)
            await asyncio.to_thread(postgres.start)


async def _recover(testbed: Testbed) -> None:
    await testbed.until_caught_up()
    await testbed.services.end_freeze()


@asynccontextmanager
async def _locked(testbed: Testbed, hold: Hold) -> AsyncIterator[None]:
    lock = locked_tables(testbed.database, hold.table, mode=hold.mode)
    await lock.__aenter__()
    try:
        yield
    finally:
        with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):  # an outage has ended it
            await lock.__aexit__(None, None, None)


async def send_late(testbed: Testbed, instants: Sequence[datetime], number: int) -> None:
    """New readings of three meters and vehicles from these instants on, each with a copy and a contradicting one."""
    for instant in instants:
        for each in range(3):
            moment = instant + timedelta(minutes=each, seconds=number)
            for kwh in (0.25, 0.25, 0.75):
                await testbed.load.send_value(
                    testbed.topics.meter, meter(f"METER-{each}", moment, kwh), f"METER-{each}"
                )
                await testbed.load.send_value(
                    testbed.topics.vehicle, vehicle(f"VEH-{each}", moment, kwh), f"VEH-{each}"
                )
    await testbed.until_caught_up()
