"""Records that are read again: each was counted once already, whatever became of it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from aiokafka import TopicPartition
from pydantic import SecretStr

from consumer.commands.runner import SESSION_SETTINGS
from consumer.records.batch import BatchResult
from consumer.storage.dead_letters import replay_dead_letters
from consumer.storage.offsets import StoredOffsets
from consumer.storage.store import Store
from sql.connection import pool
from sql.queries import queries
from tests.support.database import Database, blocked_commits, waits_for_lock
from tests.support.ledger import Entry, Topics, ledger
from tests.support.records import assignment, batch, meter, minute, records
from tests.support.waiting import until

pytestmark = pytest.mark.anyio
TOPICS = Topics("meter-readings", "vehicle-readings", 1)
METERS, ASSIGNMENTS = TopicPartition("meter-readings", 0), TopicPartition("assignments", 0)
AHEAD = datetime.now(UTC) + timedelta(days=1)
REFUSED = 6.66
# A good reading, its copy, and every kind of dead letter, by offset.
VALUES: list[bytes | None] = [
    meter(at=minute(0)),
    meter(at=minute(0)),
    b"\xff\x00 no JSON",
    None,
    meter(kwhConsumedAc=-1),
    meter(at=AHEAD),
    meter(at=minute(0), kwh=0.9),  # contradicts the first reading
    meter(at=minute(1), kwh=REFUSED),
]
LETTERS = 6
WAITING_OPERATORS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND wait_event_type = 'Lock' "
    "AND application_name = 'energy-operator'"
)


@pytest.fixture
async def store(connections: Any, database: Database) -> Store:
    await StoredOffsets(connections, "test").insert_missing({METERS: 0, ASSIGNMENTS: 0})
    await database.execute(
        f"ALTER TABLE meter_telemetry_history ADD CONSTRAINT no_evil CHECK (kwh_consumed_ac <> {REFUSED})"
    )
    return Store(connections, "test")


@pytest.fixture
async def owner(database: Database) -> AsyncIterator[Any]:
    """A connection pool with the login of the operator's commands."""
    async with pool(
        SecretStr(database.migrator_url), size=2, server_settings=SESSION_SETTINGS, command_timeout=30
    ) as opened:
        yield opened


async def move_to_beginning(database: Database, partition: TopicPartition, *, other_log: bool = False) -> None:
    connection = await asyncpg.connect(database.migrator_url)
    try:
        moved = await queries.move_offset(
            connection,
            consumer_group="test",
            topic=partition.topic,
            partition=partition.partition,
            expected_offset=await connection.fetchval(
                "SELECT next_offset FROM kafka_offsets WHERE topic = $1", partition.topic
            ),
            to_offset=0,
            other_log=other_log,
            reason="test",
        )
    finally:
        await connection.close()
    assert moved is not None


async def resolve(database: Database, offset: int, how: str) -> None:
    connection = await asyncpg.connect(database.migrator_url)
    try:
        resolved = queries.resolve_letters(
            connection,
            consumer_group="test",
            topics=[METERS.topic],
            partitions=[METERS.partition],
            offsets=[offset],
            incarnation=0,
            how=how,
        )
        assert len([row async for row in resolved]) == 1
    finally:
        await connection.close()


async def write_all(store: Store) -> BatchResult:
    return await store.write(batch(records(VALUES)))


async def test_every_kind_of_dead_letter_is_read_again_as_a_duplicate(store: Store, database: Database) -> None:
    await write_all(store)
    assert (await ledger(database, TOPICS))[METERS.topic] == Entry(8, 1, 1, LETTERS)
    before = await database.fetch("SELECT * FROM dead_letters ORDER BY 4")

    for again in (1, 2):
        await move_to_beginning(database, METERS)
        outcome = await write_all(store)
        assert (outcome.duplicates.total(), outcome.dead_letters.total(), outcome.written.total()) == (8, 0, 0)
        assert (await ledger(database, TOPICS))[METERS.topic] == Entry(8 + 8 * again, 1, 1 + 8 * again, LETTERS)
    assert await database.fetch("SELECT * FROM dead_letters ORDER BY 4") == before


async def test_dead_letters_that_were_discarded_or_deleted_do_not_upset_the_ledger(
    store: Store, database: Database
) -> None:
    await write_all(store)
    await resolve(database, 2, "discarded")
    await resolve(database, 3, "discarded")
    await database.execute("UPDATE dead_letters SET resolved_at = now() - interval '1 year' WHERE \"offset\" = 3")
    connection = await asyncpg.connect(database.migrator_url)
    deleted = await queries.delete_resolved_letters(
        connection, resolved_before=datetime.now(UTC) - timedelta(days=90), row_limit=10_000
    )
    await connection.close()
    assert deleted["letters"] == 1

    await move_to_beginning(database, METERS)
    await write_all(store)

    # The deleted one is a new dead letter; the discarded one stays discarded.
    assert (await ledger(database, TOPICS))[METERS.topic] == Entry(16, 1, 8, LETTERS + 1)
    resolutions = await database.fetch(
        'SELECT "offset", resolution FROM dead_letters WHERE "offset" IN (2, 3) ORDER BY 1'
    )
    assert [tuple(row) for row in resolutions] == [(2, "discarded"), (3, None)]


async def test_a_replayed_dead_letter_is_read_again_as_a_duplicate(
    owner: Any, store: Store, database: Database
) -> None:
    await write_all(store)
    await database.execute("ALTER TABLE meter_telemetry_history DROP CONSTRAINT no_evil")
    replay = batch(records(VALUES[7:], offset=7))
    assert (await replay_dead_letters(owner, "test", 0, replay)).written.total() == 1
    assert (await ledger(database, TOPICS))[METERS.topic] == Entry(8, 2, 1, LETTERS - 1)

    await move_to_beginning(database, METERS)
    await write_all(store)
    assert (await ledger(database, TOPICS))[METERS.topic] == Entry(16, 2, 9, LETTERS - 1)


async def test_a_dead_letter_whose_record_is_good_by_now_is_replayed_as_a_duplicate(
    owner: Any, store: Store, database: Database
) -> None:
    await write_all(store)
    await database.execute("ALTER TABLE meter_telemetry_history DROP CONSTRAINT no_evil")
    await move_to_beginning(database, METERS)
    await write_all(store)
    assert (await ledger(database, TOPICS))[METERS.topic] == Entry(16, 2, 8, LETTERS)

    replay = batch(records(VALUES[7:], offset=7))
    assert (await replay_dead_letters(owner, "test", 0, replay)).duplicates.total() == 1
    assert (await ledger(database, TOPICS))[METERS.topic] == Entry(16, 2, 9, LETTERS - 1)


async def test_a_rejected_assignment_is_read_again_as_a_duplicate(store: Store, database: Database) -> None:
    values = [assignment("VEH-1", "METER-1", minute(0)), assignment("VEH-2", "METER-1", minute(0)), b"malformed"]
    await store.write(batch(records(values, topic=ASSIGNMENTS.topic)))
    assert (await ledger(database, TOPICS))[ASSIGNMENTS.topic] == Entry(3, 1, 0, 2)

    await move_to_beginning(database, ASSIGNMENTS)
    await store.write(batch(records(values, topic=ASSIGNMENTS.topic)))
    assert (await ledger(database, TOPICS))[ASSIGNMENTS.topic] == Entry(6, 1, 3, 2)


async def test_a_replayed_assignment_does_not_overtake_a_newer_one_that_is_being_written(
    owner: Any, store: Store, database: Database
) -> None:
    rejected = assignment("VEH-1", "METER-1", minute(0))
    taken = [assignment("VEH-2", "METER-1", minute(0)), rejected, assignment("VEH-2", "METER-2", minute(0))]
    await store.write(batch(records(taken, topic=ASSIGNMENTS.topic)))
    assert (await ledger(database, TOPICS))[ASSIGNMENTS.topic] == Entry(3, 2, 0, 1)
    newer = batch(records([assignment("VEH-1", "METER-3", minute(0))], topic=ASSIGNMENTS.topic, offset=3))
    older = batch(records([rejected], topic=ASSIGNMENTS.topic, offset=1))

    async def replay_waits() -> bool:
        return bool(await database.value(WAITING_OPERATORS, database.name))

    async with blocked_commits(database):
        writing = asyncio.create_task(store.write(newer))
        await until(lambda: waits_for_lock(database), "the newer assignment is being committed")
        replaying = asyncio.create_task(replay_dead_letters(owner, "test", 0, older))
        await until(replay_waits, "the replay waits for the batch")
    assert (await writing).written.total() == 1
    assert (await replaying).duplicates.total() == 1

    assert (await ledger(database, TOPICS))[ASSIGNMENTS.topic] == Entry(4, 3, 1, 0)
    assert (
        await database.value("SELECT meter_id FROM vehicle_meter_assignments WHERE vehicle_id = 'VEH-1'") == "METER-3"
    )


async def test_the_same_offset_of_a_topic_that_was_made_anew_is_a_dead_letter_of_its_own(
    owner: Any, store: Store, database: Database
) -> None:
    await write_all(store)
    await move_to_beginning(database, METERS, other_log=True)
    await store.write(batch(records([b"other", b"records", b"at the same offsets"])))

    assert (await ledger(database, TOPICS))[METERS.topic] == Entry(11, 1, 1, LETTERS + 3)
    at_offset = await database.fetch('SELECT incarnation, value FROM dead_letters WHERE "offset" = 2 ORDER BY 1')
    assert [tuple(row) for row in at_offset] == [(0, VALUES[2]), (1, b"at the same offsets")]
    # A decision about one of them leaves the other one alone.
    await resolve(database, 2, "discarded")
    unresolved = await database.fetch('SELECT incarnation FROM dead_letters WHERE "offset" = 2 AND resolved_at IS NULL')
    assert [row[0] for row in unresolved] == [1]
    assert (await ledger(database, TOPICS))[METERS.topic] == Entry(11, 1, 1, LETTERS + 3)
    assert (await replay_dead_letters(owner, "test", 1, batch(records([meter(at=minute(3))], offset=2)))).written
    assert (await ledger(database, TOPICS))[METERS.topic] == Entry(11, 2, 1, LETTERS + 2)
