"""Soak: twenty minutes at five times the fleet's rate, with a random attack every ten seconds."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Final

from tests.faults.attacks import database, kafka
from tests.faults.attacks.consumers import kill_one_at_random
from tests.faults.testbed import Testbed
from tests.support.waiting import until

RECORDS_PER_SECOND: Final = 5 * 20_000 / 60  # the fleet: 20,000 devices that report once a minute
ROUND_SECONDS: Final = 10.0
FREEZE_SECONDS: Final = 4  # longer than the session timeout of the group


async def freeze_one(testbed: Testbed, _: int) -> None:
    """SIGSTOP a random consumer for longer than its session lasts."""
    consumer = random.choice(testbed.running)
    consumer.freeze()
    await asyncio.sleep(FREEZE_SECONDS)
    consumer.thaw()


ATTACKS: Final[tuple[Callable[[Testbed, int], Awaitable[None]], ...]] = (
    kill_one_at_random,
    freeze_one,
    database.kill_server,
    database.terminate_sessions,
    kafka.kill_broker,
)


async def attack_at_random(testbed: Testbed, number: int) -> None:
    """Run a random attack, then wait until the consumers have caught up and ten seconds have passed since its start."""
    end = time.monotonic() + ROUND_SECONDS
    await random.choice(ATTACKS)(testbed, number)
    await testbed.until_caught_up(timeout=60)
    await until(lambda: _is_past(end), "the ten seconds are over", timeout=ROUND_SECONDS + 1)
    memory = max(each.process.memory_info().rss for each in testbed.running) / 2**20
    testbed.measurements.setdefault("memory_mib_of_the_largest_replica_at_the_start", round(memory, 1))
    testbed.measurements["memory_mib_of_the_largest_replica_at_the_end"] = round(memory, 1)


async def _is_past(instant: float) -> bool:
    return time.monotonic() >= instant
