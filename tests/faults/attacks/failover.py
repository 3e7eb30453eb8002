"""Attacks with the past: PostgreSQL continues on a standby or a backup, which may lack what was committed last."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from deploy.stack.postgres import Postgres
from tests.faults.postgres_copy import (
    address_of,
    moved,
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

STORED_OFFSETS: Final = "SELECT topic, partition, next_offset FROM kafka_offsets"
IS_SYNCHRONOUS: Final = "SELECT count(*) > 0 FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')"


async def fail_over_synchronously(testbed: Testbed, number: int) -> None:
    """SIGKILL the primary while readings flow; its synchronous standby has every commit that a consumer saw."""
    primary, standby = await _replicate(testbed, number)
    await query(primary, "ALTER SYSTEM SET synchronous_standby_names = '*'")
    await query(primary, "SELECT pg_reload_conf()")
    await until(lambda: query(primary, IS_SYNCHRONOUS), "the standby is synchronous")
    await _start_consumers(testbed, primary, standby)
    async with _readings_of_one_device(testbed):
        await _advance_every_partition(testbed)
        committed = await testbed.stored_offsets()
        await asyncio.to_thread(primary.kill)
        await promote(standby)
        _move_to(testbed, standby)
        stored = await testbed.stored_offsets()
        assert all(stored[partition] >= offset for partition, offset in committed.items()), "no commit is missing"
        await testbed.until_caught_up()


async def fail_over_asynchronously(testbed: Testbed, number: int) -> None:
    """SIGKILL the primary; the standby that takes over lacks the last commits, also those of partitions that are idle now."""
    primary, standby = await _replicate(testbed, number)
    await _start_consumers(testbed, primary, standby)
    async with _readings_of_one_device(testbed):
        await until_replayed(primary, standby)
        await stop_replication(standby)
        await _advance_every_partition(testbed)
        committed = await testbed.stored_offsets()
        await asyncio.to_thread(primary.kill)
        await promote(standby)
        _move_to(testbed, standby)
        await _assert_behind(testbed, committed)
        await testbed.until_caught_up()


async def fail_over_and_keep_the_old_primary(testbed: Testbed, number: int) -> None:
    """A standby is promoted while the primary goes on: each has a consumer that writes to it, until the old one is killed."""
    primary, standby = await _replicate(testbed, number)
    await _start_consumers(testbed, primary, standby, consumers=1)
    await testbed.load.send(1)
    await testbed.until_caught_up()
    await until_replayed(primary, standby)
    await promote(standby)
    old = testbed.database
    _move_to(testbed, standby)
    (other,) = testbed.start(DATABASE_URL=address_of(old.name, standby, primary))
    await other.until_ready()
    await testbed.load.send(2)
    await testbed.load.until_acknowledged()
    await until(lambda: _are_consumed_between_them(testbed, old), "the two consumers have read everything")
    committed = {tuple(row)[:2]: row["next_offset"] for row in await old.fetch(STORED_OFFSETS)}
    await asyncio.to_thread(primary.kill)
    await _assert_behind(testbed, committed)
    async with _readings_of_one_device(testbed):
        await testbed.until_caught_up()


async def restore_to_an_instant(testbed: Testbed, number: int) -> None:
    """The server is lost and restored from a base backup and archived WAL, up to an instant before the last commits."""
    primary, restored = _own_postgres(testbed), await _base_backup(testbed, number)
    await _start_consumers(testbed, primary, restored)
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
        _move_to(testbed, restored)
        await _assert_behind(testbed, committed)
        await testbed.until_caught_up()


async def _replicate(testbed: Testbed, number: int) -> tuple[Postgres, Postgres]:
    """The primary and a new streaming standby of it."""
    standby = await _base_backup(testbed, number)
    await asyncio.to_thread(standby.start)
    return _own_postgres(testbed), standby


async def _base_backup(testbed: Testbed, number: int) -> Postgres:
    directory = testbed.stack.directory / "copied-postgres" / str(number)
    return await asyncio.to_thread(_own_postgres(testbed).standby, directory)


async def _start_consumers(testbed: Testbed, first: Postgres, second: Postgres, *, consumers: int = 2) -> None:
    """Replace the consumers by some that write to whichever of the two servers is the primary."""
    await testbed.stop_all()
    for consumer in testbed.start(consumers, DATABASE_URL=address_of(testbed.database.name, first, second)):
        await consumer.until_ready()


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


def _move_to(testbed: Testbed, server: Postgres) -> None:
    """The servers of the testbed from now on."""
    testbed.stack = moved(testbed.stack, server)
    testbed.database = Database(testbed.database.name, testbed.stack)


async def _assert_behind(testbed: Testbed, committed: dict[tuple[str, int], int]) -> None:
    stored = await testbed.stored_offsets()
    behind = [partition for partition, offset in committed.items() if stored.get(partition, 0) < offset]
    assert behind, "the new primary lacks commits"


async def _are_consumed_between_them(testbed: Testbed, old: Database) -> bool:
    both = [await database.fetch(STORED_OFFSETS) for database in (old, testbed.database)]
    stored: dict[tuple[str, int], int] = {}
    for topic, partition, offset in (tuple(row) for rows in both for row in rows):
        stored[topic, partition] = max(offset, stored.get((topic, partition), 0))
    return all(stored.get(tuple(each), 0) >= end for each, end in testbed.load.end_offsets.items())


def _own_postgres(testbed: Testbed) -> Postgres:
    assert testbed.stack.postgres is not None
    return testbed.stack.postgres
