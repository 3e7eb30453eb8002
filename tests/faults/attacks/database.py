"""PostgreSQL dies, ends sessions, loses connections, is away."""

import asyncio
import random
import time
from typing import Any

import asyncpg

from tests.faults.arena import Arena
from tests.faults.proxy import Cut, Proxy
from tests.support.waiting import until


def _postgres(arena: Arena) -> Any:
    assert arena.stack.postgres is not None, "this scenario kills the server, so it must be one of our own"
    return arena.stack.postgres


async def two_under_load(arena: Arena) -> None:
    """Two replicas, and records all the time."""
    for replica in arena.start(2):
        await replica.until_ready()
    arena.load.keep_sending()


async def kill_server(arena: Arena, _: int) -> None:
    """SIGKILL of the whole server; it recovers and comes back after a moment."""
    postgres = _postgres(arena)
    await asyncio.sleep(random.uniform(0.1, 1))
    await asyncio.to_thread(postgres.kill)
    await asyncio.sleep(random.uniform(0, 2))
    await asyncio.to_thread(postgres.start)
    await arena.caught_up()


async def terminate_sessions(arena: Arena, _: int) -> None:
    """pg_terminate_backend of every consumer's session, at any moment."""
    connection = await asyncpg.connect(arena.database.writer_url)  # a login may end its own sessions
    try:
        for _ in range(5):
            await asyncio.sleep(random.uniform(0, 0.2))
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'energy-consumer' AND datname = current_database()"
            )
    finally:
        await connection.close()
    await arena.caught_up()


async def cut_in_commit(arena: Arena, number: int) -> None:
    """The connection breaks when COMMIT was sent: before it reaches the server, or before its answer comes back."""
    where = Cut.AFTER_COMMIT if number % 2 else Cut.BEFORE_COMMIT
    async with Proxy(arena.database.writer_url) as proxy:
        (replica,) = arena.start(DATABASE_URL=proxy.url)
        await replica.until_ready()
        for _ in range(3):
            cuts = proxy.cuts
            proxy.cut_next(where)
            await arena.load.send(1)

            async def cut(cuts: int = cuts) -> bool:
                return proxy.cuts > cuts

            await until(cut, "a connection was cut in COMMIT")
            await arena.caught_up()
        await arena.stop(replica)


async def away_at_start(arena: Arena, number: int) -> None:
    """The server is down when replicas start, and (every other time) goes down while partitions are being assigned."""
    postgres = _postgres(arena)
    await arena.stop_all()
    await arena.load.send(2)
    if number % 2:
        await asyncio.to_thread(postgres.stop)
        replicas = arena.start(2)
    else:
        replicas = arena.start()
        await replicas[0].until_logged("partitions_assigned")
        replicas += arena.start()
        await replicas[0].until_logged("partitions_revoked")
        await asyncio.to_thread(postgres.kill)
    await asyncio.sleep(1)
    assert all(replica.process.poll() is None for replica in replicas)
    await asyncio.to_thread(postgres.start)
    await arena.caught_up()


async def long_outage(arena: Arena, _: int) -> None:
    """The server is away for three times the longest pause between two polls: nobody leaves the group, memory stays flat."""
    postgres = _postgres(arena)
    if not arena.live:
        for replica in arena.start(2, KAFKA_MAX_POLL_INTERVAL_MS="6000"):
            await replica.until_ready()
        arena.load.keep_sending()
    await arena.caught_up()
    rebalances = sum(len(each.events("partitions_assigned")) for each in arena.live)
    memory = _memory_mib(arena)
    await asyncio.to_thread(postgres.stop)
    away = time.monotonic() + 18
    while time.monotonic() < away:
        await asyncio.sleep(1)
        for replica in arena.live:
            assert "stuck" not in await replica.blocked_by(), "live while it waits for the database"
    await asyncio.to_thread(postgres.start)
    await arena.caught_up()
    assert sum(len(each.events("partitions_assigned")) for each in arena.live) == rebalances, "a rebalance was caused"
    arena.measured["memory_growth_mib"] = round(_memory_mib(arena) - memory, 1)


def _memory_mib(arena: Arena) -> float:
    return float(sum(each.process.memory_info().rss for each in arena.live) / 2**20)
