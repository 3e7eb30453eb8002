"""Attacks on folding and merging: maintenance is killed, or loses its sessions, at every step of them, while readings arrive."""

from datetime import datetime, timedelta
from typing import Final

from tests.faults.testbed import Testbed
from tests.support.database import locked_tables
from tests.support.records import meter, vehicle
from tests.support.waiting import until

DAY: Final = timedelta(days=1)
ROUNDS_OF_A_DAY: Final = 10
# Locks that hold maintenance where folding_before moves, before each side is folded, and where folded_before has moved.
HELD_AT: Final = (
    ("rollup_state", "SHARE"),
    ("meter_days", "EXCLUSIVE"),
    ("vehicle_days", "EXCLUSIVE"),
    ("register_days", "EXCLUSIVE"),
    ("late_hours", "EXCLUSIVE"),
)
# The same where the late readings of a device and day are replaced by folded ones.
MERGING_HELD_AT: Final = (
    ("meter_days", "EXCLUSIVE"),
    ("meter_late_readings", "EXCLUSIVE"),
    ("vehicle_days", "EXCLUSIVE"),
    ("vehicle_late_readings", "EXCLUSIVE"),
)
HELD: Final = (
    "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' "
    "AND application_name = $1"
)
END_SESSIONS: Final = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
    "AND application_name IN ('energy-maintain', 'energy-housekeeping')"
)
FOLDED_BEFORE: Final = "SELECT folded_before FROM rollup_state"


async def interrupt_folding(testbed: Testbed, number: int) -> None:
    """Hold maintenance at a step of folding, end it there, and write late readings; the last round of a day lets it be folded."""
    step = (number - 1) % ROUNDS_OF_A_DAY
    await _start_at_rest(testbed)
    if step == 0:
        testbed.load.skip_to_minute(24 * 60 - 3)
    await testbed.load.send(5 if step == 0 else 1)
    await testbed.until_caught_up()
    day = await testbed.database.value(FOLDED_BEFORE)
    settings = await _fold_after(testbed, day)
    await _interrupt(
        testbed, "energy-housekeeping", *HELD_AT[step % len(HELD_AT)], kill=step < len(HELD_AT), **settings
    )
    await _send_late(testbed, day + timedelta(hours=7), number)
    if step == ROUNDS_OF_A_DAY - 1:
        await _fold(testbed, day, settings)
    await testbed.services.restart_maintenance()


async def interrupt_merging(testbed: Testbed, number: int) -> None:
    """Write late readings of a folded day, and end maintenance at a step of merging them."""
    await _start_at_rest(testbed)
    await testbed.load.send(1)
    if number == 1:
        day = await testbed.database.value(FOLDED_BEFORE)
        await _fold(testbed, day, await _fold_after(testbed, day))
    folded = await testbed.database.value(FOLDED_BEFORE) - DAY
    table, mode = MERGING_HELD_AT[number % len(MERGING_HELD_AT)]
    await testbed.services.kill_maintenance()
    await _send_late(testbed, folded + timedelta(hours=7), number)
    await _interrupt(testbed, "energy-maintain", table, mode, kill=number // len(MERGING_HELD_AT) % 2 == 0)
    await _send_late(testbed, folded + timedelta(hours=8), number)
    await testbed.services.restart_maintenance()


async def _start_at_rest(testbed: Testbed) -> None:
    if not testbed.running:
        testbed.start()
        await testbed.until_caught_up()
        await testbed.until_at_rest()


async def _fold_after(testbed: Testbed, day: datetime) -> dict[str, str]:
    """The settings with which a day is due to be folded."""
    return {"FOLD_AFTER_DAYS": str((await testbed.database.value("SELECT now()") - day - DAY) // DAY)}


async def _fold(testbed: Testbed, day: datetime, settings: dict[str, str]) -> None:
    await testbed.services.restart_maintenance(**settings)
    await until(lambda: _has_moved(testbed, day), f"{day:%Y-%m-%d} is folded", timeout=60)


async def _interrupt(testbed: Testbed, session: str, table: str, mode: str, *, kill: bool, **settings: str) -> None:
    """Start maintenance, and kill it or end its sessions where one of them, by its name, waits for a table."""
    async with locked_tables(testbed.database, table, mode=mode):
        await testbed.services.restart_maintenance(**settings)
        await until(lambda: testbed.database.value(HELD, session), f"maintenance waits for {table}")
        if kill:
            await testbed.services.kill_maintenance()
        else:
            await testbed.database.value(END_SESSIONS)


async def _send_late(testbed: Testbed, at: datetime, number: int) -> None:
    """New readings, copies and contradicting ones for the day that is being folded, and for the one before it."""
    for instant in (at, at - DAY):
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


async def _has_moved(testbed: Testbed, day: datetime) -> bool:
    return bool(await testbed.database.value(FOLDED_BEFORE) > day)
