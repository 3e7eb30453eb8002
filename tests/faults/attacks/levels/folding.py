"""Attacks on folding, and on merging late readings into folded days."""

from datetime import datetime, timedelta
from typing import Final

from tests.faults.attacks.levels.interruption import DAY, Hold, Way, interrupt_at_lock, send_late, start_at_rest
from tests.faults.testbed import Testbed
from tests.support.waiting import until

ROUNDS_OF_A_DAY: Final = len(Way)
# Where folding_before moves, before each side is folded, and where folded_before has moved.
FOLDING: Final = (
    Hold("rollup_state", "SHARE"),
    Hold("meter_days"),
    Hold("vehicle_days"),
    Hold("register_days"),
    Hold("late_hours"),
)
# Where the late readings of a device and day are replaced by folded ones.
MERGING: Final = (Hold("meter_days"), Hold("meter_late_readings"), Hold("vehicle_days"), Hold("vehicle_late_readings"))
FOLDED_BEFORE: Final = "SELECT folded_before FROM rollup_state"


async def interrupt_folding(testbed: Testbed, number: int) -> None:
    """Interrupt maintenance at a step of folding, and write late readings. Where another one takes over, it folds the day."""
    await start_at_rest(testbed)
    first_of_day = number % ROUNDS_OF_A_DAY == 1
    if first_of_day:
        testbed.load.skip_to_minute(24 * 60 - 3)
    await testbed.load.send(5 if first_of_day else 1)
    await testbed.until_caught_up()
    day = await testbed.database.value(FOLDED_BEFORE)
    settings = await _fold_after(testbed, day)
    hold, way = FOLDING[number % len(FOLDING)], Way(number % len(Way))
    await interrupt_at_lock(testbed, "energy-housekeeping", hold, way, **settings)
    at = day + timedelta(hours=7)
    await send_late(testbed, [at, at - DAY], number)
    if way is Way.FREEZE:
        await _until_folded(testbed, day)
    await testbed.services.restart_maintenance()


async def interrupt_merging(testbed: Testbed, number: int) -> None:
    """Write late readings of a folded day, and interrupt maintenance at a step of merging them."""
    await start_at_rest(testbed)
    await testbed.load.send(1)
    if number == 1:
        day = await testbed.database.value(FOLDED_BEFORE)
        await _fold(testbed, day, await _fold_after(testbed, day))
    folded = await testbed.database.value(FOLDED_BEFORE) - DAY
    hold, way = MERGING[number % len(MERGING)], Way((number + number // len(MERGING)) % len(Way))
    await testbed.services.kill_maintenance()
    await send_late(testbed, [folded + timedelta(hours=7), folded - timedelta(hours=17)], number)
    await interrupt_at_lock(testbed, "energy-maintain", hold, way)
    await send_late(testbed, [folded + timedelta(hours=8), folded - timedelta(hours=16)], number)
    await testbed.services.restart_maintenance()


async def _fold_after(testbed: Testbed, day: datetime) -> dict[str, str]:
    """The settings with which a day is due to be folded."""
    return {"FOLD_AFTER_DAYS": str((await testbed.database.value("SELECT now()") - day - DAY) // DAY)}


async def _fold(testbed: Testbed, day: datetime, settings: dict[str, str]) -> None:
    await testbed.services.restart_maintenance(**settings)
    await _until_folded(testbed, day)


async def _until_folded(testbed: Testbed, day: datetime) -> None:
    await until(lambda: _has_moved(testbed, day), f"{day:%Y-%m-%d} is folded")


async def _has_moved(testbed: Testbed, day: datetime) -> bool:
    return bool(await testbed.database.value(FOLDED_BEFORE) > day)
