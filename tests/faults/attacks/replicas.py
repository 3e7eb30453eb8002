"""Replicas that die, freeze, come and go."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from tests.faults.arena import PARTITIONS, Arena
from tests.support.database import blocked_commits, locked_tables, waits_for_lock
from tests.support.ledger import committed_in_kafka
from tests.support.waiting import until

HISTORY = "meter_telemetry_history, vehicle_telemetry_history"
LIVE = "meter_live_status, vehicle_live_status"
Held = Callable[[Arena], AbstractAsyncContextManager[None]]


def after_claim(arena: Arena) -> AbstractAsyncContextManager[None]:
    """Transactions stand still between the claim and COPY."""
    return locked_tables(arena.database, HISTORY)


def after_copy(arena: Arena) -> AbstractAsyncContextManager[None]:
    """Transactions stand still between COPY and live status."""
    return locked_tables(arena.database, LIVE)


def before_commit(arena: Arena) -> AbstractAsyncContextManager[None]:
    """Transactions stand still in their last statement, the dead letters."""
    return locked_tables(arena.database, "dead_letters")


def in_commit(arena: Arena) -> AbstractAsyncContextManager[None]:
    """Transactions stand still inside COMMIT, before it is final."""
    return blocked_commits(arena.database)


def kill_while(held: Held) -> Callable[[Arena, int], Awaitable[None]]:
    """kill -9 of the only replica while its transaction stands still; another takes over."""

    async def attack(arena: Arena, _: int) -> None:
        if not arena.live:
            arena.start()
        doomed = arena.live[0]
        await doomed.until_ready()
        async with held(arena):
            await arena.load.send(2)
            await arena.load.send_value(arena.topics.meter, b"{}", "METER-0")
            await until(lambda: waits_for_lock(arena.database), "a transaction stands still")
            await arena.kill(doomed)
        arena.start()
        await arena.caught_up()

    return attack


async def kill_after_commit(arena: Arena, _: int) -> None:
    """kill -9 after COMMIT, before the offsets were told to Kafka."""
    while True:
        if not arena.live:
            arena.start()
        doomed = arena.live[0]
        await doomed.until_ready()
        before = await _stored(arena)
        await arena.load.send(2)

        async def committed(before: dict[tuple[str, int], int] = before) -> bool:
            return await _stored(arena) != before

        await until(committed, "a transaction is committed", every=0.002)
        await arena.kill(doomed)
        stored = await _stored(arena)
        told = await committed_in_kafka(arena.stack, arena.group.environment["KAFKA_GROUP_ID"])
        arena.start()
        await arena.caught_up()
        if any(told.get(partition, 0) < offset for partition, offset in stored.items()):
            return


async def _stored(arena: Arena) -> dict[tuple[str, int], int]:
    rows = await arena.database.fetch("SELECT topic, partition, next_offset FROM kafka_offsets")
    return {(row["topic"], row["partition"]): row["next_offset"] for row in rows}


async def three_under_load(arena: Arena) -> None:
    """Three replicas, and records all the time."""
    for replica in arena.start(3):
        await replica.until_ready()
    arena.load.keep_sending()


async def kill_one_of_three(arena: Arena, _: int) -> None:
    """kill -9 at any moment, and another is started at once."""
    await asyncio.sleep(random.uniform(0.2, 2))
    await arena.kill(random.choice(arena.live))
    arena.start()
    await arena.caught_up(timeout=60)


async def freeze_past_session(arena: Arena, _: int) -> None:
    """SIGSTOP in the middle of a transaction; another takes over and writes; SIGCONT: the claim must refuse the first."""
    fenced = arena.fenced()
    while arena.fenced() == fenced:
        await freeze_once(arena)


async def freeze_once(arena: Arena) -> None:
    """The attack, whether or not the claim has to refuse anything."""
    await arena.stop_all()
    zombie = arena.start()[0]
    await zombie.until_ready()
    async with after_copy(arena):
        await arena.load.send(4)
        await until(lambda: waits_for_lock(arena.database), "a transaction stands still")
        zombie.freeze()
    arena.start()
    await arena.caught_up()
    zombie.thaw()
    await zombie.until_ready()
    await arena.load.send(2)
    await arena.caught_up()


async def one_under_load(arena: Arena) -> None:
    """One replica, and records all the time."""
    await arena.start()[0].until_ready()
    arena.load.keep_sending()


async def scale(arena: Arena, number: int) -> None:
    """1 -> 4 -> 1; every third time more replicas than partitions, and all but one leave."""
    more = PARTITIONS * 2 if number % 3 == 0 else 3
    for replica in arena.start(more):
        await replica.until_logged("partitions_assigned")
        await asyncio.sleep(0.2)
    await arena.caught_up()
    for replica in arena.live[:-1]:
        await arena.stop(replica)
    await arena.caught_up()
