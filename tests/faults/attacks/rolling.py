"""A new version: the schema is migrated, then one replica after the other is stopped and started again, while records come in all
the time.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import asyncpg
from aiokafka import TopicPartition
from pydantic import SecretStr

from sql.migrate import migrate
from sql.settings import SqlSettings
from tests.faults.arena import PARTITIONS, Arena
from tests.support.repository.migrations import add_column, create_index, extended_migrations
from tests.support.services import ConsumerProcess

# As in production: longer than a replica takes to start.
SESSION_MS: Final = 20_000
NAMED_STALLS_AT_MOST_SECONDS: Final = 5.0  # the promise: a restart moves nothing, and takes one or two seconds
UNNAMED_STALLS_AT_MOST_SECONDS: Final = 15.0  # everything is shared out twice
MEASURED: Final = "longest_stall_of_a_partition_seconds"
STORED: Final = "SELECT topic, partition, next_offset FROM kafka_offsets"
VALID: Final = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)"


def _start(arena: Arena, name: str | None) -> ConsumerProcess:
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
    """The schema is migrated, then every replica is replaced once. With names no other one may lose its partitions for it."""

    limit = NAMED_STALLS_AT_MOST_SECONDS if named else UNNAMED_STALLS_AT_MOST_SECONDS

    async def attack(arena: Arena, _: int) -> None:
        stalls: list[float] = []
        while not stalls or (stalls[-1] > limit and len(stalls) < arena.tries):
            stalls.append(await _upgrade(arena, named=named))
        arena.measured[MEASURED] = max(arena.measured.get(MEASURED, 0.0), *stalls)
        assert stalls[-1] <= limit, f"a partition stood still for {stalls} s, with records that Kafka had acknowledged"

    return attack


async def _upgrade(arena: Arena, *, named: bool) -> float:
    """Migrate, replace every replica, wait until what was sent meanwhile is stored; the longest stall of a partition (s)."""
    await arena.caught_up()  # nothing that an earlier try has left waiting counts
    async with _watched(arena) as stalls:
        await _migrate(arena)
        for number, old in enumerate(list(arena.live)):
            others = [each for each in arena.live if each is not old]
            rebalances = [len(each.events("partitions_revoked")) for each in others]
            await arena.stop(old)
            new = _start(arena, f"replica-{number}" if named else None)
            await new.until_ready()
            await arena.caught_up()  # ready is not written: the stall ends with the commit
            if named:
                assert [len(each.events("partitions_revoked")) for each in others] == rebalances
    assert _partitions(arena) <= stalls.keys(), "every partition was seen"
    return round(max(stalls.values()), 1)


async def _migrate(arena: Arena) -> None:
    """What a next version may bring: a column, and an index on the month that is being filled."""
    month = f"meter_telemetry_history_y{arena.load.begins:%Ym%m}"
    directory = arena.group.directory / "migrations"
    name = f"later_{len(list(directory.glob('*')))}"  # another one in every round
    migrations = extended_migrations(
        directory, [add_column("meter_telemetry_history", name), create_index(month, f"{name}_idx", "ingested_at")]
    )
    await migrate(SqlSettings(database_url=SecretStr(arena.database.migrator_url)), migrations)
    assert await arena.database.value(VALID, f"{name}_idx"), "the index can be used"


def _partitions(arena: Arena) -> set[TopicPartition]:
    topics = (arena.topics.meter, arena.topics.vehicle)
    return {TopicPartition(topic, number) for topic in topics for number in range(PARTITIONS)}


@asynccontextmanager
async def _watched(arena: Arena) -> AsyncIterator[dict[TopicPartition, float]]:
    stalls: dict[TopicPartition, float] = {}
    watching = asyncio.create_task(_watch(arena, stalls), name="stalls")
    try:
        yield stalls
        if watching.done():
            watching.result()  # whoever stopped watching has seen no stall
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


async def _watch(arena: Arena, stalls: dict[TopicPartition, float]) -> None:
    """By partition, the longest time between two looks at the ledger that both found the same offset, and records behind it that
    Kafka had acknowledged by the first of them. So a watcher or a load that gets no processor time sees less, never more: a look
    counts from its answer, and until the question of the next one.
    """
    seen: dict[TopicPartition, tuple[int, bool, float]] = {}  # the offset, whether records waited, since when
    connection = await asyncpg.connect(arena.database.migrator_url)
    try:
        while True:
            ends, asked = dict(arena.load.ends), time.monotonic()
            rows = await connection.fetch(STORED)
            answered = time.monotonic()
            for topic, number, offset in rows:
                partition = TopicPartition(topic, number)
                before, waited, since = seen.get(partition, (-1, False, answered))
                since = since if waited and offset == before else answered
                seen[partition] = (offset, ends.get(partition, 0) > offset, since)
                stalls[partition] = max(stalls.get(partition, 0.0), asked - since)
            await asyncio.sleep(0.1)
    finally:
        await connection.close()
