"""Dead letters in the database: inserted with their batch, replayed on an operator's command."""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final

import asyncpg
import structlog
from aiokafka import TopicPartition

from consumer.records.batch import Batch, BatchResult, DeadLetter, count_result
from consumer.records.record import Record, timestamp_as_instant, total_size
from consumer.storage.errors import FencedError, describe, is_passing, storable
from consumer.storage.ledger import adjust_ledger, count_by_partition
from consumer.storage.newest_readings import NewestReadings
from consumer.storage.offsets import partition_columns
from consumer.storage.rejected_rows import failing_items, move_rejected_rows
from consumer.storage.row_writers import Connection, WriteContext, hold_watermarks, write_rows
from sql.queries import queries

CHUNK_BYTES: Final = 64 * 1024 * 1024  # of keys and values in one statement
LONGEST_DETAIL: Final = 2000  # characters

log = structlog.get_logger(__name__)

Outcome = tuple[list[DeadLetter], list[DeadLetter]]


async def insert_dead_letters(
    connection: Connection, consumer_group: str, dead_letters: Sequence[DeadLetter]
) -> Outcome:
    """Insert dead letters of claimed partitions, within a transaction.

    One that cannot be stored whole is stored without key, value and timestamp.

    Returns:
        The inserted ones, and those that were stored before: their records were read again after an offset was moved back.
    """
    if not dead_letters:
        return [], []
    dead_letters = [
        _without_content(each, f"{size} bytes are too many")
        if (size := total_size([each.record])) > CHUNK_BYTES
        else each
        for each in dead_letters
    ]
    insert = partial(_insert, connection, consumer_group)
    try:
        async with connection.transaction():  # a savepoint
            return await insert(dead_letters)
    except Exception as error:
        if is_passing(error):
            raise
        failing = {
            id(letter): describe(reason) for letter, reason in await failing_items(connection, dead_letters, insert)
        }
        if not failing:
            raise
        return await insert([
            _without_content(each, failing[id(each)]) if id(each) in failing else each for each in dead_letters
        ])  # fmt: skip


async def _insert(connection: Connection, consumer_group: str, dead_letters: Sequence[DeadLetter]) -> Outcome:
    outcome: Outcome = [], []
    for chunk in _chunks(dead_letters):
        inserted, present = await _insert_chunk(connection, consumer_group, chunk)
        outcome[0].extend(inserted)
        outcome[1].extend(present)
    return outcome


def _without_content(letter: DeadLetter, why: str) -> DeadLetter:
    partition, offset = letter.record.topic_partition, letter.record.offset
    log.error(
        "dead_letter_without_content", topic=partition.topic, partition=partition.partition, offset=offset, error=why
    )
    detail = f"{letter.detail}; key, value and timestamp are not stored: {why}"
    return DeadLetter(Record(partition, offset, None, None, None), letter.reason, detail)


def _chunks(dead_letters: Sequence[DeadLetter]) -> Iterator[list[DeadLetter]]:
    """Dead letters in portions for one statement each: PostgreSQL takes no message above 1 GiB."""
    chunk: list[DeadLetter] = []
    size = 0
    for letter in dead_letters:
        of_letter = total_size([letter.record])
        if chunk and size + of_letter > CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
        chunk.append(letter)
        size += of_letter
    if chunk:
        yield chunk


async def _insert_chunk(connection: Connection, consumer_group: str, dead_letters: Sequence[DeadLetter]) -> Outcome:
    records = [each.record for each in dead_letters]
    found = queries.insert_dead_letters(
        connection,
        consumer_group=consumer_group,
        **_record_columns(records),
        keys=[record.key for record in records],
        values=[record.framed_value() for record in records],  # headers are not stored
        timestamps=[timestamp_as_instant(record.timestamp) for record in records],
        **_reason_columns(dead_letters),
    )
    new = {(TopicPartition(row["topic"], row["partition"]), row["offset"]) async for row in found}
    inserted = [each for each in dead_letters if (each.record.topic_partition, each.record.offset) in new]
    present = [each for each in dead_letters if (each.record.topic_partition, each.record.offset) not in new]
    return inserted, present


async def replay_dead_letters(
    pool: "asyncpg.Pool[asyncpg.Record]", consumer_group: str, incarnation: int, batch: Batch
) -> BatchResult:
    """Write the rows of a batch of dead letters and resolve these, in one transaction that adjusts the ledger as well.

    All of them belong to the same incarnation of their logs.

    Dead letters without a row, and those that contradict a stored reading, stay unresolved; their reason is updated.

    Raises:
        FencedError: another process has resolved one of the dead letters; nothing was written.
        Exception: any other error; nothing was written.
    """
    while True:
        try:
            async with pool.acquire() as connection, connection.transaction():
                return await _replay_once(connection, consumer_group, incarnation, batch)
        except FencedError:
            raise
        except Exception as error:
            if is_passing(error):
                raise
            batch = await move_rejected_rows(pool, batch, error)


async def _replay_once(connection: Connection, consumer_group: str, incarnation: int, batch: Batch) -> BatchResult:
    replayed = [record for buffer in batch.rows_by_type.values() for record in buffer.records]
    decoded = [*replayed, *(each.record for each in batch.dead_letters)]
    await _hold_offsets(connection, consumer_group, decoded)
    await _resolve(connection, consumer_group, incarnation, replayed)
    context = WriteContext(NewestReadings(), await hold_watermarks(connection), True, consumer_group, incarnation)
    written = await write_rows(connection, batch, context)
    rejected = [*batch.dead_letters, *written.rejected]
    await _reopen(connection, consumer_group, incarnation, rejected)
    resolved = count_by_partition(replayed) - count_by_partition(each.record for each in written.rejected)
    await adjust_ledger(
        connection,
        consumer_group,
        duplicates=count_by_partition(written.duplicates),
        dead_lettered=Counter({partition: -count for partition, count in resolved.items()}),
    )
    return count_result(Counter(each.topic_partition.topic for each in decoded), written.duplicates, rejected)


async def _hold_offsets(connection: Connection, consumer_group: str, records: list[Record]) -> None:
    """Take the locks of a claim first, so that a batch of the same partitions is written wholly before or after the replay."""
    partitions = partition_columns({record.topic_partition for record in records})
    async for _ in queries.stored_offsets(connection, consumer_group=consumer_group, **partitions):
        pass


async def _resolve(connection: Connection, consumer_group: str, incarnation: int, records: list[Record]) -> None:
    resolved = queries.resolve_letters(
        connection, consumer_group=consumer_group, **_record_columns(records), incarnation=incarnation, how="replayed"
    )
    if len([row async for row in resolved]) != len(records):
        raise FencedError({record.topic_partition for record in records})


async def _reopen(
    connection: Connection, consumer_group: str, incarnation: int, dead_letters: list[DeadLetter]
) -> None:
    """Mark dead letters as unresolved, with the reason of this replay."""
    await queries.reject_letters(
        connection,
        consumer_group=consumer_group,
        **_record_columns([each.record for each in dead_letters]),
        incarnation=incarnation,
        **_reason_columns(dead_letters),
    )


def _record_columns(records: list[Record]) -> dict[str, list[Any]]:
    return {
        **partition_columns(record.topic_partition for record in records),
        "offsets": [record.offset for record in records],
    }


def _reason_columns(dead_letters: Sequence[DeadLetter]) -> dict[str, list[str]]:
    return {
        "reasons": [each.reason.value for each in dead_letters],
        "details": [storable(each.detail[:LONGEST_DETAIL]) for each in dead_letters],
    }
