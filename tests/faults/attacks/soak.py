"""Twenty minutes at five times the fleet's rate, with a fault every ten seconds."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Final

from tests.faults.attacks import database, kafka
from tests.faults.attacks.consumers import kill_one_of_three
from tests.faults.testbed import Arena
from tests.support.waiting import until

FLEET_RECORDS_A_SECOND: Final = 20_000 / 60
ROUND_SECONDS: Final = 10.0


async def five_times_the_fleet(arena: Arena) -> None:
    """Three replicas, under five times the load they are made for."""
    for replica in arena.start(3):
        await replica.until_ready()
    arena.load.keep_sending(5 * FLEET_RECORDS_A_SECOND)


async def freeze_one(arena: Arena, _: int) -> None:
    """SIGSTOP for longer than the session lasts."""
    replica = random.choice(arena.live)
    replica.freeze()
    await asyncio.sleep(4)
    replica.thaw()


FAULTS: Final[tuple[Callable[[Arena, int], Awaitable[None]], ...]] = (
    kill_one_of_three,
    freeze_one,
    database.kill_server,
    database.terminate_sessions,
    kafka.kill_broker,
)


async def fault_every_ten_seconds(arena: Arena, number: int) -> None:
    """One fault, drawn at random; then the lag must be gone before the next."""
    ends = time.monotonic() + ROUND_SECONDS
    await random.choice(FAULTS)(arena, number)
    await arena.caught_up(timeout=60)
    await until(lambda: _past(ends), "the ten seconds are over", timeout=ROUND_SECONDS + 1)
    memory = max(each.process.memory_info().rss for each in arena.live) / 2**20
    arena.measured.setdefault("memory_mib_of_the_largest_replica_at_the_start", round(memory, 1))
    arena.measured["memory_mib_of_the_largest_replica_at_the_end"] = round(memory, 1)


async def _past(instant: float) -> bool:
    return time.monotonic() >= instant
