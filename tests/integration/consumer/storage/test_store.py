"""The store: what one transaction writes, counts and rejects."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from aiokafka import TopicPartition
from pydantic import SecretStr

from consumer.monitoring.health import Health
from consumer.monitoring.metrics import Metrics
from consumer.pipeline.batch_writer import BatchWriter
from consumer.pipeline.breaker import Breaker
from consumer.records.batch import DeadLetter
from consumer.records.record import Record, record_hash
from consumer.records.record_type import RECORDED_AT, RecordType
from consumer.records.row_buffer import RowBuffer
from consumer.settings import ConsumerSettings
from consumer.storage import dead_letters, rejected_rows
from consumer.storage.errors import FencedError
from consumer.storage.offsets import CONNECTIONS, EVICT_AFTER_SECONDS, LastRecord, StoredOffsets
from consumer.storage.row_writers import WriteContext
from consumer.storage.store import Store
from consumer.topic_registry import METER_READINGS
from schemas.records.readings import Reason
from sql.connection import WRITER_SETTINGS, pool
from sql.queries import queries
from tests.support.database import Database, waits_for_lock
from tests.support.ledger import Entry, Topics, ledger
from tests.support.records import assignment, batch, meter, minute, records, vehicle
from tests.support.waiting import until

pytestmark = pytest.mark.anyio
RowsByType = dict[RecordType, RowBuffer]
TOPICS = Topics("meter-readings", "vehicle-readings", 1)
METERS, VEHICLES = TopicPartition("meter-readings", 0), TopicPartition("vehicle-readings", 0)
ASSIGNMENTS = TopicPartition("assignments", 0)


@pytest.fixture
async def stored(connections: Any) -> StoredOffsets:
    offsets = StoredOffsets(connections, "test")
    await offsets.insert_missing({METERS: 0, VEHICLES: 0})
    return offsets


async def next_offsets(stored: StoredOffsets, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
    return {partition: offset.next_offset for partition, offset in (await stored.read(partitions)).items()}


@pytest.fixture
def store(connections: Any, stored: StoredOffsets) -> Store:
    return Store(connections, "test")


async def test_readings_of_both_types_are_stored_with_live_status_and_ledger(
    store: Store, stored: StoredOffsets, database: Database
) -> None:
    outcome = await store.write(
        batch(
            records([meter(at=minute(0)), meter(at=minute(1), kwh=0.75)]),
            records([vehicle(at=minute(1))], topic="vehicle-readings"),
        )
    )

    assert outcome.written == Counter({"meter-readings": 2, "vehicle-readings": 1})
    history = await database.fetch(
        "SELECT recorded_at, kwh_consumed_ac, voltage FROM meter_telemetry_history ORDER BY 1"
    )
    assert [tuple(row) for row in history] == [(minute(0), 0.5, 240.5), (minute(1), 0.75, 240.5)]
    live = await database.fetch(
        "SELECT vehicle_id, soc, last_kwh_delivered_dc, last_battery_temp, recorded_at FROM vehicle_live_status"
    )
    assert [tuple(row) for row in live] == [("VEH-001", 80, 0.4, 25, minute(1))]
    assert await ledger(database, TOPICS) == {
        "meter-readings": Entry(2, 2, 0, 0),
        "vehicle-readings": Entry(1, 1, 0, 0),
    }
    assert await next_offsets(stored, [METERS, VEHICLES]) == {METERS: 2, VEHICLES: 1}


async def test_a_reading_sent_again_is_a_duplicate_within_a_batch_and_across_batches(
    store: Store, database: Database
) -> None:
    await store.write(batch(records([meter(), meter(), meter()])))
    outcome = await store.write(batch(records([meter(), meter(at=minute(1))], offset=3)))

    assert outcome.duplicates == Counter({"meter-readings": 1})
    assert await ledger(database, TOPICS) == {
        "meter-readings": Entry(5, 2, 3, 0),
        "vehicle-readings": Entry(0, 0, 0, 0),
    }


async def test_the_first_of_two_contradicting_readings_is_kept_and_the_second_becomes_a_dead_letter(
    store: Store, database: Database
) -> None:
    await store.write(batch(records([meter(kwh=0.5)])))
    await store.write(batch(records([meter(kwh=0.6), meter(kwh=0.5), meter(kwh=0.7)], offset=1)))

    assert await database.value("SELECT kwh_consumed_ac FROM meter_telemetry_history") == 0.5
    letters = await database.fetch('SELECT "offset", reason, key, value FROM dead_letters ORDER BY 1')
    assert [tuple(row) for row in letters] == [
        (1, Reason.CONFLICTING_READING, b"key", meter(kwh=0.6)),
        (3, Reason.CONFLICTING_READING, b"key", meter(kwh=0.7)),
    ]
    assert (await ledger(database, TOPICS))["meter-readings"] == Entry(4, 1, 1, 2)


async def test_copies_in_one_batch_are_compared_with_the_stored_reading_and_not_with_each_other(
    store: Store, database: Database
) -> None:
    await store.write(batch(records([meter(at=minute(0), kwh=0.5), meter(at=minute(9))])))
    outcome = await store.write(batch(records([meter(at=minute(0), kwh=0.9), meter(at=minute(0), kwh=0.5)], offset=2)))

    assert outcome.dead_letters == Counter({("meter-readings", Reason.CONFLICTING_READING): 1})
    assert outcome.duplicates == Counter({"meter-readings": 1})
    assert await database.value('SELECT "offset" FROM dead_letters') == 2


async def test_live_status_never_goes_back_in_time(store: Store, database: Database) -> None:
    await store.write(batch(records([meter(at=minute(5), kwh=0.5), meter(at=minute(3), kwh=0.3)])))
    await store.write(batch(records([meter(at=minute(4), kwh=0.4)], offset=2)))

    live = await database.fetch("SELECT recorded_at, last_kwh_consumed_ac FROM meter_live_status")
    assert [tuple(row) for row in live] == [(minute(5), 0.5)]
    assert await database.value("SELECT count(*) FROM meter_telemetry_history") == 3


async def test_the_primary_key_finds_a_duplicate_that_the_cache_takes_for_new(
    connections: Any, store: Store, database: Database
) -> None:
    other = Store(connections, "another group that reads the same device")
    await StoredOffsets(connections, "another group that reads the same device").insert_missing({METERS: 0})
    await store.write(batch(records([meter(at=minute(0))])))
    await other.write(batch(records([meter(at=minute(1)), meter(at=minute(2))])))
    outcome = await store.write(batch(records([meter(at=minute(1)), meter(at=minute(3))], offset=1)))

    assert outcome.duplicates == Counter({"meter-readings": 1})
    assert await database.value("SELECT count(*) FROM meter_telemetry_history") == 4


async def test_a_fenced_consumer_writes_nothing(store: Store, stored: StoredOffsets, database: Database) -> None:
    zombie = batch(records([meter(at=minute(0)), meter(at=minute(1))]), records([vehicle()], topic="vehicle-readings"))
    await store.write(batch(records([meter(at=minute(0))])))

    with pytest.raises(FencedError) as fenced:
        await store.write(zombie)

    assert fenced.value.partitions == {METERS}
    assert await database.value("SELECT count(*) FROM meter_telemetry_history") == 1
    assert await database.value("SELECT count(*) FROM vehicle_telemetry_history") == 0
    assert await next_offsets(stored, [METERS, VEHICLES]) == {METERS: 1, VEHICLES: 0}


async def test_assignments_are_applied_in_the_order_of_arrival_and_counted_one_by_one(
    store: Store, stored: StoredOffsets, database: Database
) -> None:
    await stored.insert_missing({ASSIGNMENTS: 0, TopicPartition("assignments", 1): 0})
    values = [
        assignment("VEH-2", "METER-1", minute(0)),
        assignment("VEH-1", "METER-1", minute(9)),
        assignment("VEH-1", "METER-2", minute(9)),  # a correction
        assignment("VEH-1", "METER-2", minute(9)),
        assignment("VEH-0", "METER-2", minute(9)),  # rejected: METER-2 is assigned, although VEH-0 sorts before VEH-1
    ]
    other = [assignment("VEH-4", "METER-4", minute(0)), b"malformed"]
    outcome = await store.write(
        batch(
            records(values, topic="assignments"),
            records([meter()]),
            records(other, topic="assignments", partition=1),
        )
    )

    assert outcome.written == Counter({"assignments": 4, "meter-readings": 1})
    assert outcome.duplicates == Counter({"assignments": 1})
    assert outcome.dead_letters == Counter(
        {("assignments", Reason.OVERLAPPING_ASSIGNMENT): 1, ("assignments", Reason.INVALID_JSON): 1}
    )
    rows = await database.fetch("SELECT vehicle_id, meter_id, lower(valid_during), upper(valid_during), source "
                                "FROM vehicle_meter_assignments ORDER BY 1")  # fmt: skip
    assert [tuple(row) for row in rows] == [
        ("VEH-1", "METER-2", minute(9), None, "kafka:assignments"),
        ("VEH-2", "METER-1", minute(0), None, "kafka:assignments"),
        ("VEH-4", "METER-4", minute(0), None, "kafka:assignments"),
    ]
    assert (await ledger(database, TOPICS))["assignments"] == Entry(7, 4, 1, 2)


async def test_assignments_that_are_read_again_change_nothing_whatever_came_after_them(
    store: Store, stored: StoredOffsets, database: Database
) -> None:
    await stored.insert_missing({ASSIGNMENTS: 0})
    values = [
        assignment("VEH-1", "METER-1", minute(0)),
        assignment("VEH-1", "METER-2", minute(0)),  # a correction
        assignment("VEH-2", "METER-2", minute(0)),  # rejected: VEH-1 is at METER-2
        assignment("VEH-1", "METER-1", minute(0)),  # a correction back to what was declared first; METER-2 is free now
        assignment("VEH-3", "METER-3", minute(0), minute(60)),
        assignment("VEH-4", "METER-3", minute(30)),  # rejected, and corrected by the next two
        assignment("VEH-3", "METER-3", minute(0), minute(20)),
        assignment("VEH-4", "METER-4", minute(30)),
        assignment("VEH-4", "METER-4", minute(30)),  # a duplicate
    ]
    for offset, value in enumerate(values):
        await store.write(batch(records([value], topic="assignments", offset=offset)))
    assignments = "SELECT vehicle_id, meter_id, valid_during FROM vehicle_meter_assignments ORDER BY 1"
    before = await database.fetch(assignments)
    assert [(row["vehicle_id"], row["meter_id"]) for row in before] == [
        ("VEH-1", "METER-1"), ("VEH-3", "METER-3"), ("VEH-4", "METER-4"),
    ]  # fmt: skip
    assert (await ledger(database, TOPICS))["assignments"] == Entry(9, 6, 1, 2)

    await database.execute("UPDATE kafka_offsets SET next_offset = 0 WHERE topic = 'assignments'")
    for offset, value in enumerate(values):
        await store.write(batch(records([value], topic="assignments", offset=offset)))
        assert await database.fetch(assignments) == before, f"after record {offset}"
    assert (await ledger(database, TOPICS))["assignments"] == Entry(18, 6, 10, 2)

    await store.write(batch(records([assignment("VEH-1", "METER-2", minute(0))], topic="assignments", offset=9)))
    assert (
        await database.value("SELECT meter_id FROM vehicle_meter_assignments WHERE vehicle_id = 'VEH-1'") == "METER-2"
    )


async def test_assignments_of_another_incarnation_of_the_log_are_new(
    store: Store, stored: StoredOffsets, database: Database
) -> None:
    await stored.insert_missing({ASSIGNMENTS: 0})
    await store.write(
        batch(records([assignment("VEH-1", "METER-1"), assignment("VEH-1", "METER-2")], topic="assignments"))
    )
    await database.execute(
        "UPDATE kafka_offsets SET next_offset = 0, incarnation = incarnation + 1 WHERE topic = 'assignments'"
    )
    await store.write(batch(records([assignment("VEH-1", "METER-1")], topic="assignments")))
    assert await database.value("SELECT meter_id FROM vehicle_meter_assignments") == "METER-1"
    assert (await ledger(database, TOPICS))["assignments"] == Entry(3, 3, 0, 0)


async def test_assignments_of_a_fenced_consumer_are_not_applied(
    store: Store, stored: StoredOffsets, database: Database
) -> None:
    await stored.insert_missing({ASSIGNMENTS: 0})
    zombie = batch(records([assignment("VEH-1", "METER-9")], topic="assignments"), records([meter()]))
    await store.write(batch(records([assignment("VEH-1", "METER-1")], topic="assignments")))

    with pytest.raises(FencedError) as fenced:
        await store.write(zombie)

    assert fenced.value.partitions == {ASSIGNMENTS}
    assert await database.value("SELECT meter_id FROM vehicle_meter_assignments") == "METER-1"
    assert (await ledger(database, TOPICS))["assignments"] == Entry(1, 1, 0, 0)
    assert await next_offsets(stored, [METERS]) == {METERS: 0}


async def test_an_assignment_that_the_database_rejects_does_not_affect_the_others(
    store: Store, stored: StoredOffsets, database: Database
) -> None:
    await stored.insert_missing({ASSIGNMENTS: 0})
    await database.execute("ALTER TABLE assignment_declarations ADD CONSTRAINT no_evil CHECK (meter_id <> 'EVIL')")
    values = [assignment("VEH-1", "EVIL" if each == 3 else f"METER-{each}", minute(each)) for each in range(6)]
    await store.write(batch(records(values, topic="assignments"), records([meter()])))

    assert await database.value('SELECT "offset" FROM dead_letters') == 3
    assert await database.value("SELECT count(*) FROM vehicle_meter_assignments") == 5
    assert (await ledger(database, TOPICS))["assignments"] == Entry(6, 5, 0, 1)


async def test_a_batch_of_a_partition_without_a_stored_offset_is_fenced(store: Store) -> None:
    with pytest.raises(FencedError):
        await store.write(batch(records([meter()], partition=7)))


@asynccontextmanager
async def evicted_in_copy(database: Database) -> AsyncIterator[None]:
    """A session that holds a claim in the middle of a COPY, and must have been evicted by the end of the block."""
    copying, silent = asyncio.Event(), asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        copying.set()
        await silent.wait()
        yield b""

    frozen = await asyncpg.connect(database.writer_url, server_settings=WRITER_SETTINGS)
    await frozen.execute("BEGIN; UPDATE kafka_offsets SET next_offset = 7")
    copy = asyncio.create_task(frozen.copy_to_table("meter_telemetry_history", source=endless()))
    await copying.wait()
    yield
    silent.set()
    with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.AdminShutdownError, ConnectionError)):
        await copy
    assert frozen.is_closed()


async def test_a_session_that_holds_a_claim_in_the_middle_of_copy_is_evicted(
    stored: StoredOffsets, database: Database
) -> None:
    async with evicted_in_copy(database):
        assert await next_offsets(stored, [METERS, VEHICLES]) == {METERS: 0, VEHICLES: 0}


async def test_a_claim_that_a_lost_host_still_makes_after_the_restore_holds_up_no_one_for_ever(
    store: Store, stored: StoredOffsets, database: Database, connections: Any
) -> None:
    """The packet with its claim was late: it takes the lock after the next consumer has read the stored offsets."""
    await next_offsets(stored, [METERS, VEHICLES])
    metrics, health = Metrics(), Health()
    breaker = Breaker(connections, ConsumerSettings(database_url=SecretStr(database.writer_url)), metrics, health)
    async with evicted_in_copy(database), asyncio.timeout(60):
        result = await BatchWriter(store, stored, breaker, metrics, health).write(batch(records([meter()])))
    assert result.written == Counter({"meter-readings": 1})


async def test_all_sessions_of_a_frozen_consumer_are_evicted_together(
    stored: StoredOffsets, database: Database
) -> None:
    frozen = [await asyncpg.connect(database.writer_url, server_settings=WRITER_SETTINGS) for _ in range(2)]
    for session, topic in zip(frozen, ("meter-readings", "vehicle-readings"), strict=True):
        await session.execute(f"BEGIN; UPDATE kafka_offsets SET next_offset = 7 WHERE topic = '{topic}'")

    read = next_offsets(stored, [METERS, VEHICLES])
    assert await asyncio.wait_for(read, 1.6 * EVICT_AFTER_SECONDS) == {METERS: 0, VEHICLES: 0}
    for session in frozen:
        session.terminate()


async def test_a_frozen_session_is_evicted_while_many_reads_wait_for_it(
    stored: StoredOffsets, database: Database
) -> None:
    """A pool full of reads that wait must not keep them from the connection that ends their wait."""
    never_ended = WRITER_SETTINGS | {"idle_in_transaction_session_timeout": "0"}
    frozen = await asyncpg.connect(database.writer_url, server_settings=never_ended)
    await frozen.execute("BEGIN; UPDATE kafka_offsets SET next_offset = 7")
    patient = WRITER_SETTINGS | {"lock_timeout": "30s"}
    async with pool(
        SecretStr(database.writer_url), size=CONNECTIONS, server_settings=patient, command_timeout=60
    ) as connections:
        waiting = StoredOffsets(connections, "test")
        reads = [next_offsets(waiting, [METERS]) for _ in range(2 * CONNECTIONS)]
        assert await asyncio.gather(*reads) == [{METERS: 0}] * len(reads)
    frozen.terminate()


async def test_a_session_is_evicted_at_the_second_look_only(stored: StoredOffsets, database: Database) -> None:
    """A read that has waited for a lock is as old as its wait, and goes on while others look at what blocks them."""
    holder, waiting, evicting = [
        await asyncpg.connect(database.writer_url, server_settings=WRITER_SETTINGS) for _ in range(3)
    ]

    async def evict(*seen: int) -> list[tuple[int, bool | None]]:
        found = queries.evict_holders(evicting, waiting=waiting.get_server_pid(), patience=0, seen=list(seen))
        return [(row["pid"], row["ended"]) async for row in found]

    pid = holder.get_server_pid()
    await holder.execute("BEGIN; UPDATE kafka_offsets SET next_offset = 7")
    read = asyncio.create_task(waiting.execute("SELECT FROM kafka_offsets FOR UPDATE"))
    await until(lambda: waits_for_lock(database, wrote=False), "the read waits for the transaction")
    assert await evict() == [(pid, None)]
    assert await holder.fetchval("SELECT 1") == 1
    assert await evict(pid) == [(pid, True)]
    await read
    for session in (holder, waiting, evicting):
        session.terminate()


async def test_offsets_are_read_after_the_transaction_that_claims_them(
    stored: StoredOffsets, database: Database
) -> None:
    claiming = await asyncpg.connect(database.writer_url)
    await claiming.execute("BEGIN; UPDATE kafka_offsets SET next_offset = 7 WHERE topic = 'meter-readings'")
    reading = asyncio.create_task(next_offsets(stored, [METERS, VEHICLES]))
    await until(lambda: waits_for_lock(database, wrote=False), "the read waits for the transaction")
    await claiming.execute("COMMIT")
    assert await reading == {METERS: 7, VEHICLES: 0}
    await claiming.close()


async def test_the_last_record_is_stored_with_the_offset_behind_it(
    store: Store, stored: StoredOffsets, database: Database
) -> None:
    async def last_record() -> LastRecord | None:
        (found,) = (await stored.read([METERS])).values()
        return found.last_record

    def taken(fetched: list[Record]) -> LastRecord:
        return LastRecord(fetched[-1].offset, record_hash(fetched[-1]))

    assert await last_record() == LastRecord(0, None)
    first = records([meter(at=minute(each)) for each in range(3)])
    await store.write(batch(first))
    assert await last_record() == taken(first)
    # A previous version of the consumer moves the offset alone: what is before it now was not compared with anything.
    await database.execute("UPDATE kafka_offsets SET next_offset = 5 WHERE topic = 'meter-readings'")
    assert await last_record() is None
    second = records([meter(at=minute(5))], offset=5)
    await store.write(batch(second))
    assert await last_record() == taken(second)


async def test_a_halt_holds_for_the_previous_version_too(stored: StoredOffsets, database: Database) -> None:
    await stored.halt(METERS, 0, "another log")
    claim = await asyncpg.connect(database.writer_url)
    moved = "UPDATE kafka_offsets SET next_offset = 7 WHERE topic = 'meter-readings' AND next_offset = 0"
    assert await claim.execute(moved) == "UPDATE 0"
    assert await claim.execute(f"{moved.replace(' WHERE', ', halt_reason = NULL WHERE')}") == "UPDATE 1"
    await claim.close()
    assert await next_offsets(stored, [METERS]) == {METERS: 7}


async def test_malformed_records_become_dead_letters_with_their_raw_bytes(store: Store, database: Database) -> None:
    values = [b"\xff\x00 no JSON", meter(), None, b"", meter(kwhConsumedAc=-1)]
    await store.write(batch(records(values)))

    letters = await database.fetch('SELECT "offset", reason, value, detail FROM dead_letters ORDER BY 1')
    assert [(row["offset"], row["reason"], row["value"]) for row in letters] == [
        (0, Reason.INVALID_JSON, b"\xff\x00 no JSON"),
        (2, Reason.EMPTY_VALUE, None),
        (3, Reason.EMPTY_VALUE, b""),
        (4, Reason.OUT_OF_RANGE, values[4]),
    ]
    assert all(row["detail"] for row in letters)
    assert (await ledger(database, TOPICS))["meter-readings"] == Entry(5, 1, 0, 4)


async def test_rows_that_the_database_rejects_become_dead_letters_and_the_others_are_stored(
    store: Store, database: Database
) -> None:
    await database.execute("ALTER TABLE meter_telemetry_history ADD CONSTRAINT no_evil CHECK (kwh_consumed_ac <> 6.66)")
    values = [meter(at=minute(each), kwh=6.66 if each in {3, 11} else 0.5) for each in range(20)]
    outcome = await store.write(batch(records(values)))

    assert outcome.dead_letters == Counter({("meter-readings", Reason.REFUSED_BY_DATABASE): 2})
    letters = await database.fetch('SELECT "offset", detail FROM dead_letters ORDER BY 1')
    assert [row["offset"] for row in letters] == [3, 11]
    assert all("23514" in row["detail"] and "no_evil" in row["detail"] for row in letters)
    assert (await ledger(database, TOPICS))["meter-readings"] == Entry(20, 18, 0, 2)


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        ("DROP TABLE meter_telemetry_history_y{:%Ym%m}", asyncpg.CheckViolationError),
        ("REVOKE INSERT ON meter_telemetry_history FROM energy_writer", asyncpg.InsufficientPrivilegeError),
        ("ALTER TABLE dead_letters RENAME TO letters", asyncpg.UndefinedTableError),
    ],
    ids=["a missing partition", "a missing privilege", "a missing table"],
)
async def test_a_failure_of_the_system_is_raised_and_causes_no_dead_letters(
    store: Store, stored: StoredOffsets, database: Database, failure: str, error: type[Exception]
) -> None:
    await database.execute(failure.format(minute(0)))

    with pytest.raises(error):
        await store.write(batch(records([meter(), b"malformed"])))

    assert await next_offsets(stored, [METERS]) == {METERS: 0}
    assert await database.value("SELECT count(*) FROM pg_class WHERE relname = 'dead_letters'") in {0, 1}
    assert (await database.fetch("SELECT records_dead_lettered FROM kafka_offsets"))[0][0] == 0


@pytest.mark.parametrize(
    "error",
    [
        ValueError("year 58878 is out of range"),
        KeyError("meter"),
        asyncpg.InterfaceError("the server expects 3 arguments"),
    ],
)
async def test_rows_that_our_own_code_fails_to_write_become_dead_letters_and_the_others_are_stored(
    store: Store, database: Database, error: Exception
) -> None:
    async def write(connection: Any, record_type: RecordType, buffer: RowBuffer, context: WriteContext) -> Any:
        if any(row[RECORDED_AT] in {minute(3), minute(11)} for row in buffer.rows):
            raise error
        return await METER_READINGS.write(connection, METER_READINGS, buffer, context)

    failing = replace(METER_READINGS, write=write)
    written = batch(
        records([meter(at=minute(each)) for each in range(20)]), records([vehicle()], topic="vehicle-readings")
    )
    types = {failing if each is METER_READINGS else each: rows for each, rows in written.rows_by_type.items()}
    outcome = await store.write(replace(written, rows_by_type=types))

    assert outcome.dead_letters == Counter({("meter-readings", Reason.INTERNAL_ERROR): 2})
    letters = await database.fetch('SELECT "offset", value, detail FROM dead_letters ORDER BY 1')
    assert [(row["offset"], row["value"]) for row in letters] == [(each, meter(at=minute(each))) for each in (3, 11)]
    assert all(type(error).__name__ in row["detail"] for row in letters)
    assert await ledger(database, TOPICS) == {
        "meter-readings": Entry(20, 18, 0, 2),
        "vehicle-readings": Entry(1, 1, 0, 0),
    }


async def test_an_error_of_our_own_code_that_no_single_record_causes_is_raised_and_nothing_is_written(
    store: Store, stored: StoredOffsets, database: Database
) -> None:
    async def write(connection: Any, record_type: RecordType, buffer: RowBuffer, context: WriteContext) -> Any:
        if len(buffer.rows) == 20:
            raise KeyError("the whole batch")
        return await METER_READINGS.write(connection, METER_READINGS, buffer, context)

    written = batch(records([meter(at=minute(each)) for each in range(20)]))
    failing: RowsByType = {replace(METER_READINGS, write=write): written.rows_by_type[METER_READINGS]}
    with pytest.raises(KeyError, match="the whole batch"):
        await store.write(replace(written, rows_by_type=failing))

    assert await next_offsets(stored, [METERS]) == {METERS: 0}
    assert await database.value("SELECT count(*) FROM meter_telemetry_history") == 0
    assert await database.value("SELECT count(*) FROM dead_letters") == 0


async def test_a_program_that_fails_for_every_record_fills_no_dead_letters(
    store: Store, stored: StoredOffsets, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def write(*_: Any) -> Any:
        raise KeyError("any record")

    monkeypatch.setattr(rejected_rows, "MOST_FAILING", 10)
    written = batch(records([meter(at=minute(each)) for each in range(20)]))
    failing: RowsByType = {replace(METER_READINGS, write=write): written.rows_by_type[METER_READINGS]}
    with pytest.raises(KeyError, match="any record"):
        await store.write(replace(written, rows_by_type=failing))
    assert await next_offsets(stored, [METERS]) == {METERS: 0}
    assert await database.value("SELECT count(*) FROM dead_letters") == 0


async def test_a_dead_letter_that_cannot_be_stored_whole_is_stored_without_its_content(
    store: Store, database: Database
) -> None:
    """Whatever about a record the row of its dead letter cannot hold; here a constraint stands for it."""
    await database.execute("ALTER TABLE dead_letters ADD CONSTRAINT small CHECK (octet_length(value) < 100)")
    await store.write(batch(records([b"malformed", meter(), b"x" * 100, meter(at=minute(1)), None])))

    letters = await database.fetch(
        'SELECT "offset", key, value, kafka_timestamp, reason, detail FROM dead_letters ORDER BY 1'
    )
    assert [(row["offset"], row["key"], row["value"]) for row in letters] == [
        (0, b"key", b"malformed"),
        (2, None, None),
        (4, b"key", None),
    ]
    assert letters[1]["kafka_timestamp"] is None
    assert letters[1]["reason"] == Reason.INVALID_JSON
    assert "small" in letters[1]["detail"]
    assert (await ledger(database, TOPICS))["meter-readings"] == Entry(5, 2, 0, 3)


async def test_the_details_of_dead_letters_may_contain_any_text(store: Store, database: Database) -> None:
    fetched = records([b"malformed"] * 3)
    texts = ["\0 and \ud800", "x" * 100_000, "\U0001f600"]
    letters = [DeadLetter(record, Reason.INTERNAL_ERROR, text) for record, text in zip(fetched, texts, strict=True)]
    await store.write(replace(batch(fetched), dead_letters=letters))
    stored = await database.fetch('SELECT detail FROM dead_letters ORDER BY "offset"')
    assert [row["detail"] for row in stored] == ["\\0 and \\ud800", "x" * 2000, "\U0001f600"]


async def test_dead_letters_that_are_too_large_for_one_statement_are_stored_in_several(
    store: Store, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL takes no message above 1 GiB."""
    monkeypatch.setattr(dead_letters, "CHUNK_BYTES", 1000)
    values = [b"x" * 400, b"x" * 599, b"x" * 1000, None, b"x", b"x" * 990, meter()]
    await store.write(batch(records(values)))
    letters = await database.fetch(
        'SELECT key, octet_length(value) AS bytes, detail FROM dead_letters ORDER BY "offset"'
    )
    assert [row["bytes"] for row in letters] == [400, 599, None, None, 1, 990]
    assert letters[2]["key"] is None, "with its key of three bytes, the record is larger than any statement may be"
    assert "1003 bytes" in letters[2]["detail"]
    assert (await ledger(database, TOPICS))["meter-readings"] == Entry(7, 1, 0, 6)


async def test_the_error_of_a_write_is_raised_even_when_the_pool_has_released_its_connection(
    connections: Any, store: Store, database: Database
) -> None:
    async def write(connection: Any, *_: Any) -> Any:
        await connections.release(connection)
        raise ConnectionResetError("the real error")

    written = batch(records([meter()]))
    failing: RowsByType = {replace(METER_READINGS, write=write): written.rows_by_type[METER_READINGS]}
    with pytest.raises(ConnectionResetError, match="the real error"):
        await store.write(replace(written, rows_by_type=failing))
