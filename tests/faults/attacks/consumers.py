"""Attacks on consumers: they are killed, frozen, started and stopped."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from tests.faults.testbed import PARTITIONS, Testbed
from tests.support.database import blocked_commits, locked_tables, waits_for_lock
from tests.support.ledger import committed_in_kafka
from tests.support.waiting import until

HISTORY = "meter_telemetry_history, vehicle_telemetry_history"
LIVE_STATUS = "meter_live_status, vehicle_live_status"
Block = Callable[[Testbed], AbstractAsyncContextManager[None]]


def start_under_load(consumers: int, *, records_per_second: float = 1000) -> Callable[[Testbed], Awaitable[None]]:
    """Preparation: start consumers and a continuous load."""

    async def prepare(testbed: Testbed) -> None:
        for consumer in testbed.start(consumers):
            await consumer.until_ready()
        testbed.load.send_continuously(records_per_second)

    return prepare


def block_after_claim(testbed: Testbed) -> AbstractAsyncContextManager[None]:
    """Blocks transactions between the claim of offsets and COPY."""
    return locked_tables(testbed.database, HISTORY)


def block_after_copy(testbed: Testbed) -> AbstractAsyncContextManager[None]:
    """Blocks transactions between COPY and live status."""
    return locked_tables(testbed.database, LIVE_STATUS)


def block_before_commit(testbed: Testbed) -> AbstractAsyncContextManager[None]:
    """Blocks transactions in their last statement, which inserts dead letters."""
    return locked_tables(testbed.database, "dead_letters")


def block_in_commit(testbed: Testbed) -> AbstractAsyncContextManager[None]:
    """Blocks transactions inside COMMIT, before it takes effect."""
    return blocked_commits(testbed.database)


def kill_while_blocked(block: Block) -> Callable[[Testbed, int], Awaitable[None]]:
    """SIGKILL the only consumer while its transaction is blocked, then start another."""

    async def attack(testbed: Testbed, _: int) -> None:
        if not testbed.running:
            testbed.start()
        victim = testbed.running[0]
        await victim.until_ready()
        async with block(testbed):
            await testbed.load.send(2)
            await testbed.load.send_value(testbed.topics.meter, b"{}", "METER-0")
            await until(lambda: waits_for_lock(testbed.database), "a transaction is blocked")
            await testbed.kill(victim)
        testbed.start()
        await testbed.until_caught_up()

    return attack


async def kill_after_commit(testbed: Testbed, _: int) -> None:
    """SIGKILL after COMMIT and before the offsets are committed to Kafka; repeated until the kill came in time."""
    while True:
        if not testbed.running:
            testbed.start()
        victim = testbed.running[0]
        await victim.until_ready()
        before = await testbed.stored_offsets()
        await testbed.load.send(2)

        async def is_committed(before: dict[tuple[str, int], int] = before) -> bool:
            return await testbed.stored_offsets() != before

        await until(is_committed, "a transaction is committed", every=0.002)
        await testbed.kill(victim)
        stored = await testbed.stored_offsets()
        in_kafka = await committed_in_kafka(testbed.stack, testbed.group.environment["KAFKA_GROUP_ID"])
        testbed.start()
        await testbed.until_caught_up()
        if any(in_kafka.get(partition, 0) < offset for partition, offset in stored.items()):
            return


async def kill_one_at_random(testbed: Testbed, _: int) -> None:
    """SIGKILL a random consumer at a random moment and start another at once."""
    await asyncio.sleep(random.uniform(0.2, 2))
    await testbed.kill(random.choice(testbed.running))
    testbed.start()
    await testbed.until_caught_up(timeout=60)


async def freeze_until_fenced(testbed: Testbed, _: int) -> None:
    """Repeat freeze_in_transaction() until the claim of offsets has fenced a write, or has let one through."""
    fenced = testbed.fenced_writes()
    while testbed.fenced_writes() == fenced and not await testbed.has_consumed_twice():
        await freeze_in_transaction(testbed)


async def freeze_in_transaction(testbed: Testbed) -> None:
    """SIGSTOP in the middle of a transaction; another consumer takes over and writes; SIGCONT."""
    await testbed.stop_all()
    zombie = testbed.start()[0]
    await zombie.until_ready()
    async with block_after_copy(testbed):
        await testbed.load.send(4)
        await until(lambda: waits_for_lock(testbed.database), "a transaction is blocked")
        zombie.freeze()
    testbed.start()
    await testbed.until_caught_up()
    zombie.thaw()
    await zombie.until_ready()
    await testbed.load.send(2)
    await testbed.until_caught_up()


async def scale(testbed: Testbed, number: int) -> None:
    """Scale from 1 to 4 consumers and back; in every third round to more consumers than partitions."""
    more = PARTITIONS * 2 if number % 3 == 0 else 3
    for consumer in testbed.start(more):
        await consumer.until_logged("partitions_assigned")
        await asyncio.sleep(0.2)
    await testbed.until_caught_up()
    for consumer in testbed.running[:-1]:
        await testbed.stop(consumer)
    await testbed.until_caught_up()
