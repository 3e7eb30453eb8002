"""Attacks with the past: PostgreSQL continues on a standby or a backup, which may lack what was committed last."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from deploy.stack.postgres import Postgres
from tests.faults.postgres_copy import (
    addressed,
    new_member,
    ports_of,
    promote,
    query,
    recover_until,
    stop_replication,
    until_archived,
    until_promoted,
    until_replayed,
)
from tests.faults.testbed import Testbed
from tests.support.database import Database
from tests.support.waiting import until

IS_SYNCHRONOUS: Final = "SELECT count(*) > 0 FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')"
STORED_OFFSETS: Final = "SELECT topic, partition, next_offset FROM kafka_offsets"
Offsets = dict[tuple[str, int], int]


async def start_consumers(testbed: Testbed) -> None:
    """Preparation: two consumers; maintenance has nothing left to do."""
    testbed.start(2)
    await testbed.until_caught_up()
    await testbed.until_at_rest()


async def fail_over_synchronously(testbed: Testbed, number: int) -> None:
    """SIGKILL the primary while readings flow; its synchronous standby has every commit that a consumer saw."""
    primary, standby = await _start_standby(testbed, number)
    await query(primary, "ALTER SYSTEM SET synchronous_standby_names = '*'")
    await query(primary, "SELECT pg_reload_conf()")
    await until(lambda: query(primary, IS_SYNCHRONOUS), "the standby is synchronous")
    async with _readings_of_one_device(testbed):
        await _advance_every_partition(testbed)
        committed = await testbed.stored_offsets()
        await asyncio.to_thread(primary.kill)
        await _promote(testbed, standby)
        assert not _behind(await testbed.stored_offsets(), committed), "no commit is missing"
        await testbed.until_caught_up()


async def fail_over_asynchronously(testbed: Testbed, number: int) -> None:
    """SIGKILL the primary; the standby that takes over lacks the last commits, also those of partitions that are idle now."""
    primary, standby = await _start_standby(testbed, number)
    async with _readings_of_one_device(testbed):
        await until_replayed(primary, standby)
        await stop_replication(standby)
        await _advance_every_partition(testbed)
        committed = await testbed.stored_offsets()
        await asyncio.to_thread(primary.kill)
        await _promote(testbed, standby)
        assert _behind(await testbed.stored_offsets(), committed), "the new primary lacks commits"
        await testbed.until_caught_up()


async def split_brain(testbed: Testbed, number: int) -> None:
    """A standby is promoted while the primary goes on: each has a consumer that writes to it, until the old one is killed."""
    for consumer in testbed.running[1:]:
        await testbed.stop(consumer)
    primary, standby = await _start_standby(testbed, number)
    await until_replayed(primary, standby)
    await promote(standby)
    old, new = _database(testbed, primary, number - 1), _database(testbed, standby, number)
    (other,) = testbed.start(DATABASE_URL=new.writer_url)
    await other.until_ready()
    await testbed.load.send(2)
    await testbed.load.flush()
    await until(lambda: _consumed_between_them(testbed, old, new), "the two consumers have read everything")
    assert _behind(await _offsets(new), await _offsets(old)), "the new primary lacks commits of the old one"
    await asyncio.to_thread(primary.kill)
    testbed.stack = replace(testbed.stack, postgres=standby)
    async with _readings_of_one_device(testbed):
        await testbed.until_caught_up()


async def restore_to_an_instant(testbed: Testbed, number: int) -> None:
    """The server is lost and restored from a base backup and archived WAL, up to an instant before the last commits."""
    primary, restored = testbed.stack.postgres, await asyncio.to_thread(new_member, testbed.stack, number)
    assert primary is not None
    async with _readings_of_one_device(testbed):
        await _advance_every_partition(testbed)
        instant = await query(primary, "SELECT clock_timestamp()::text")
        await _advance_every_partition(testbed)
        committed = await testbed.stored_offsets()
        await until_archived(primary)
        await asyncio.to_thread(primary.kill)
        recover_until(restored, primary, instant)
        await asyncio.to_thread(restored.start)
        await until_promoted(restored)
        testbed.stack = replace(testbed.stack, postgres=restored)
        assert _behind(await testbed.stored_offsets(), committed), "the restored server lacks commits"
        await testbed.until_caught_up()


async def _start_standby(testbed: Testbed, number: int) -> tuple[Postgres, Postgres]:
    """The primary, and a new standby that streams from it."""
    standby = await asyncio.to_thread(new_member, testbed.stack, number)
    await asyncio.to_thread(standby.start)
    assert testbed.stack.postgres is not None
    return testbed.stack.postgres, standby


async def _promote(testbed: Testbed, standby: Postgres) -> None:
    await promote(standby)
    testbed.stack = replace(testbed.stack, postgres=standby)


@asynccontextmanager
async def _readings_of_one_device(testbed: Testbed) -> AsyncIterator[None]:
    """Readings of one meter and one vehicle flow while the block runs; the other partitions are idle."""
    testbed.load.send_continuously(100, devices=1)
    try:
        yield
    finally:
        await testbed.load.stop_sending()


async def _advance_every_partition(testbed: Testbed) -> None:
    """All devices send, and everything is consumed."""
    await testbed.load.send(2)
    await testbed.load.flush()
    await testbed.until_caught_up()


def _behind(stored: Offsets, committed: Offsets) -> list[tuple[str, int]]:
    """The partitions whose stored offsets are below those that were committed."""
    return [partition for partition, offset in committed.items() if stored.get(partition, 0) < offset]


def _database(testbed: Testbed, server: Postgres, number: int) -> Database:
    """The database on one server alone, which was started in the round of this number (the first one before all rounds)."""
    return Database(testbed.database.name, addressed(testbed.stack, server, [ports_of(testbed.stack)[number]]))


async def _offsets(database: Database) -> Offsets:
    rows = await database.fetch(STORED_OFFSETS)
    return {(row["topic"], row["partition"]): row["next_offset"] for row in rows}


async def _consumed_between_them(testbed: Testbed, *databases: Database) -> bool:
    both = [await _offsets(each) for each in databases]
    return all(
        max(stored.get((each.topic, each.partition), 0) for stored in both) >= end
        for each, end in testbed.load.end_offsets.items()
    )
