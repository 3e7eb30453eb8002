"""Everything in little time: all kinds of records, a kill, a restart, maintenance, faults that open and close, answers."""

from contextlib import suppress
from typing import Final

from tests.faults.messages import HEALED, correction, right_meter
from tests.faults.testbed import Testbed
from tests.support.waiting import until

IS_OPEN: Final = "SELECT EXISTS (SELECT FROM efficiency_faults WHERE vehicle_id = $1 AND closed_at IS NULL)"
SECONDS_TO_HEAL: Final = 90.0  # the next evaluation begins with the next minute


async def kill_and_restart(testbed: Testbed, _: int) -> None:
    """More than an hour of readings; SIGKILL of one consumer and SIGTERM of another, each replaced."""
    if not testbed.running:
        for consumer in testbed.start(2):
            await consumer.until_ready()
    await testbed.load.send(70)
    await testbed.kill(testbed.running[0])
    testbed.start()
    await testbed.load.send(20)
    await testbed.until_caught_up()
    await testbed.stop(testbed.running[0])
    testbed.start()
    await testbed.load.send(6)
    await testbed.until_caught_up()


async def heal_fault(testbed: Testbed, _: int) -> None:
    """A fault opens because a vehicle was assigned to the wrong meter, and closes after the correction."""
    testbed.start()
    verdict = await testbed.verify()
    assert not verdict.findings, verdict.findings
    await testbed.load.send_messages(right_meter(testbed.today))
    await testbed.until_caught_up()
    await testbed.load.send_messages([correction(testbed.today)])
    await testbed.until_caught_up()

    async def is_closed() -> bool:
        return not await testbed.database.value(IS_OPEN, HEALED)

    with suppress(AssertionError):  # the oracle finds a fault that stays open
        await until(is_closed, "the fault is closed", timeout=SECONDS_TO_HEAL, every=0.5)
