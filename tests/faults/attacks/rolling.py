"""A new version: one replica after the other is stopped and started again, while records come in all the time."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import asyncpg

from tests.faults.arena import Arena
from tests.services import Replica

# As in production: longer than a replica takes to start.
SESSION_MS: Final = 20_000
STALLS_AT_MOST_SECONDS: Final = 15.0  # a restart takes one or two on a machine of its own; a session that ends, twenty
MEASURED: Final = "longest_stall_of_a_partition_seconds"
STORED: Final = "SELECT topic, partition, next_offset FROM kafka_offsets"


def _start(arena: Arena, name: str | None) -> Replica:
    # Empty is as good as unset.
    return arena.start(KAFKA_SESSION_TIMEOUT_MS=str(SESSION_MS), KAFKA_GROUP_INSTANCE_ID=name or "")[0]


async def three_named(arena: Arena) -> None:
    """Three replicas with names of their own, and records all the time."""
    await _three(arena, ["replica-0", "replica-1", "replica-2"])


async def three_unnamed(arena: Arena) -> None:
    """Three replicas, and records all the time."""
    await _three(arena, [None, None, None])


async def _three(arena: Arena, names: list[str | None]) -> None:
    for replica in [_start(arena, name) for name in names]:
        await replica.until_ready()
    arena.load.keep_sending()


def replace_each(*, named: bool) -> Callable[[Arena, int], Awaitable[None]]:
    """Every replica is replaced once. With names no other one may lose its partitions for it."""

    async def attack(arena: Arena, _: int) -> None:
        async with _watched(arena):
            for number, old in enumerate(list(arena.live)):
                others = [each for each in arena.live if each is not old]
                rebalances = [len(each.events("partitions_revoked")) for each in others]
                await arena.stop(old)
                new = _start(arena, f"replica-{number}" if named else None)
                await new.until_ready()
                if named:
                    assert [len(each.events("partitions_revoked")) for each in others] == rebalances
        assert arena.measured[MEASURED] < STALLS_AT_MOST_SECONDS

    return attack


@asynccontextmanager
async def _watched(arena: Arena) -> AsyncIterator[None]:
    watching = asyncio.create_task(_watch(arena), name="stalls")
    try:
        yield
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


async def _watch(arena: Arena) -> None:
    """The longest time in which one partition did not move, though all partitions are sent to several times a second."""
    moved: dict[tuple[str, int], tuple[int, float]] = {}
    connection = await asyncpg.connect(arena.database.migrator_url)
    try:
        while True:
            now = time.monotonic()
            for topic, partition, offset in await connection.fetch(STORED):
                before, since = moved.get((topic, partition), (offset, now))
                moved[(topic, partition)] = (offset, since if offset == before else now)
                longest = max(now - since, arena.measured.get(MEASURED, 0.0))
                arena.measured[MEASURED] = round(longest, 1)
            await asyncio.sleep(0.1)
    finally:
        await connection.close()
