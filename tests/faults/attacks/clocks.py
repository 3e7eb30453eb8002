"""Attacks on wall clocks: that of a consumer's host, and that of the host where maintenance runs."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Final

from tests.faults.clock import shifted_clock
from tests.faults.testbed import Testbed
from tests.support.command import sql_command
from tests.support.records import meter
from tests.support.waiting import until

JUMPS: Final = (timedelta(minutes=-10), timedelta(days=800))
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
    """Maintenance runs on a host whose clock is wrong, and then on a right one: history and rollups are as if it never had."""
    if not testbed.running:
        testbed.start()
    command = sql_command(testbed.group.environment, testbed.database)
    clock = shifted_clock(testbed.group.directory)
    for jump in itertools.chain(MAINTENANCE_JUMPS, [timedelta()]):
        await testbed.load.send(5)
        await testbed.until_caught_up()
        clock.move(jump)
        exit_code, *output = await command.run("maintain", "--once", **clock.settings)
    assert exit_code == 0, output
