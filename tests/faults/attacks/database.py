"""Attacks on PostgreSQL: the server is killed or stopped, sessions are terminated, connections are cut."""

import asyncio
import random
import time
from typing import Any

import asyncpg

from tests.faults.proxy import Cut, Proxy
from tests.faults.testbed import Testbed
from tests.support.waiting import until

OUTAGE_SECONDS = 18
SLOW_SECONDS_OF_A_ROUND = 8
DELAY_SECONDS = 0.4  # of each answer; a transaction needs about ten


async def kill_server(testbed: Testbed, _: int) -> None:
    """SIGKILL the whole server and start it again after a moment; it recovers."""
    postgres = own_postgres(testbed)
    await asyncio.sleep(random.uniform(0.1, 1))
    await asyncio.to_thread(postgres.kill)
    await asyncio.sleep(random.uniform(0, 2))
    await asyncio.to_thread(postgres.start)
    await testbed.until_caught_up()


async def terminate_sessions(testbed: Testbed, _: int) -> None:
    """Call pg_terminate_backend for every session of the consumers, five times at random moments."""
    connection = await asyncpg.connect(testbed.database.writer_url)  # a login may terminate its own sessions
    try:
        for _ in range(5):
            await asyncio.sleep(random.uniform(0, 0.2))
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'energy-consumer' AND datname = current_database()"
            )
    finally:
        await connection.close()
    await testbed.until_caught_up()


async def cut_in_commit(testbed: Testbed, number: int) -> None:
    """Cut the connection during COMMIT: before it reaches the server, or before the answer reaches the consumer."""
    when = Cut.AFTER_COMMIT if number % 2 else Cut.BEFORE_COMMIT
    async with Proxy(testbed.database.writer_url) as proxy:
        (consumer,) = testbed.start(DATABASE_URL=proxy.url)
        await consumer.until_ready()
        for _ in range(3):
            cuts = proxy.cuts
            proxy.cut_next_commit(when)
            await testbed.load.send(1)

            async def is_cut(cuts: int = cuts) -> bool:
                return proxy.cuts > cuts

            await until(is_cut, "a connection is cut during COMMIT")
            await testbed.until_caught_up()
        await testbed.stop(consumer)


async def be_down_at_start(testbed: Testbed, number: int) -> None:
    """The server is down when consumers start; in every second round it goes down while partitions are being assigned."""
    postgres = own_postgres(testbed)
    await testbed.stop_all()
    await testbed.load.send(2)
    if number % 2:
        await asyncio.to_thread(postgres.stop)
        consumers = testbed.start(2)
    else:
        consumers = testbed.start()
        await consumers[0].until_logged("partitions_assigned")
        consumers += testbed.start()
        await consumers[0].until_logged("partitions_revoked")
        await asyncio.to_thread(postgres.kill)
    await asyncio.sleep(1)
    assert all(consumer.process.poll() is None for consumer in consumers)
    await asyncio.to_thread(postgres.start)
    await testbed.until_caught_up()


async def be_down_for_long(testbed: Testbed, _: int) -> None:
    """The server is down for three times the maximum poll interval: no consumer leaves the group, and memory does not grow."""
    postgres = own_postgres(testbed)
    if not testbed.running:
        for consumer in testbed.start(2, KAFKA_MAX_POLL_INTERVAL_MS="6000"):
            await consumer.until_ready()
        testbed.load.send_continuously()
    await testbed.until_caught_up()
    rebalances, memory = _rebalances(testbed), _memory_mib(testbed)
    await asyncio.to_thread(postgres.stop)
    await _assert_live(testbed, OUTAGE_SECONDS)
    await asyncio.to_thread(postgres.start)
    await testbed.until_caught_up()
    assert _rebalances(testbed) == rebalances, "a rebalance was caused"
    testbed.measurements["memory_growth_mib"] = round(_memory_mib(testbed) - memory, 1)


async def answer_slowly(testbed: Testbed, number: int) -> None:
    """Every answer of the database is late, for longer with each round: consumers stay in the group, and memory does not grow."""
    async with Proxy(testbed.database.writer_url) as proxy:
        consumers = testbed.start(2, DATABASE_URL=proxy.url, KAFKA_MAX_POLL_INTERVAL_MS="6000")
        for consumer in consumers:
            await consumer.until_ready()
        testbed.load.send_continuously()
        await testbed.until_caught_up()
        rebalances, memory = _rebalances(testbed), _memory_mib(testbed)
        proxy.delay_seconds = DELAY_SECONDS
        await _assert_live(testbed, SLOW_SECONDS_OF_A_ROUND * number)
        proxy.delay_seconds = 0.0
        await testbed.load.stop_sending()
        await testbed.until_caught_up()
        assert _rebalances(testbed) == rebalances, "a rebalance was caused"
        growth = round(_memory_mib(testbed) - memory, 1)
        testbed.measurements["memory_growth_mib"] = max(growth, testbed.measurements.get("memory_growth_mib", 0.0))
        await testbed.stop_all()


async def _assert_live(testbed: Testbed, seconds: float) -> None:
    """No consumer is stuck for this long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        await asyncio.sleep(1)
        for consumer in testbed.running:
            assert "stuck" not in await consumer.blocked_by(), "live while it waits for the database"


def _rebalances(testbed: Testbed) -> int:
    return sum(len(each.events("partitions_assigned")) for each in testbed.running)


def own_postgres(testbed: Testbed) -> Any:
    """The server of this run, which may be killed and stopped."""
    assert testbed.stack.postgres is not None, "this scenario kills the server, so it must be one of our own"
    return testbed.stack.postgres


def _memory_mib(testbed: Testbed) -> float:
    return float(sum(each.process.memory_info().rss for each in testbed.running) / 2**20)
