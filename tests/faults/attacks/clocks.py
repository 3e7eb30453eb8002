"""Attacks on wall clocks: that of a consumer's host, and that of the host where maintenance runs."""

from datetime import UTC, datetime, timedelta
from typing import Final

from tests.faults.clock import shifted_clock
from tests.faults.testbed import Testbed
from tests.support.records import meter
from tests.support.waiting import until

JUMPS: Final = (timedelta(minutes=-10), timedelta(days=800))
EVERY_TASK_RAN: Final = "SELECT bool_and(greatest(succeeded_at, failed_at) >= $1) FROM maintenance_runs"
MAINTENANCE_JUMPS: Final = (timedelta(days=800), timedelta(days=1), timedelta(days=-30))


async def shift_a_consumer(testbed: Testbed, number: int) -> None:
    """The clock of the only consumer jumps, and back: it takes nothing meanwhile, so that no good reading is refused."""
    clock = shifted_clock(testbed.group.directory)
    (consumer,) = testbed.start(1, **clock.settings)
    await testbed.load.send(1)
    await testbed.until_caught_up()
    for jump in JUMPS:
        clock.move(jump)
        for each in range(100):
            name = f"METER-now-{number}-{each}"
            await testbed.load.send_value(testbed.topics.meter, meter(name, datetime.now(UTC)), name)
        await testbed.load.send(1)
        await testbed.load.until_acknowledged()
        await until(consumer.blocked_by, "the consumer with the wrong clock is not ready")
        clock.move(timedelta())
        await testbed.until_caught_up()
        await consumer.until_ready()
    await testbed.stop(consumer)


async def shift_maintenance(testbed: Testbed, _: int) -> None:
    """Maintenance runs on a host whose clock is wrong, and then right: history and rollups are as if it had been right always."""
    if not testbed.running:
        testbed.start()
    await testbed.until_caught_up()
    await testbed.until_at_rest()
    clock = shifted_clock(testbed.group.directory)
    for jump in (*MAINTENANCE_JUMPS, timedelta()):
        await testbed.load.send(5)
        await testbed.until_caught_up()
        clock.move(jump)
        begun = await testbed.database.value("SELECT clock_timestamp()")
        await testbed.services.restart_maintenance(**clock.settings)
        await until(lambda begun=begun: _every_task_ran(testbed, begun), f"maintenance runs {jump} ahead")  # type: ignore[misc]


async def _every_task_ran(testbed: Testbed, begun: datetime) -> bool:
    """Whether every task has succeeded or failed since that instant."""
    return bool(await testbed.database.value(EVERY_TASK_RAN, begun))
