"""Batch -> one transaction: claim, rows, dead letters, ledger. All of it or nothing.

BEGIN -> claim (the fence) -> rows, by the writer of their kind (history and live status; assignments) -> dead letters -> COMMIT
"""

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg
from aiokafka import TopicPartition

from consumer.records.batch import Batch, BatchResult, DeadLetter
from consumer.records.record_type import RecordType, Row
from consumer.records.rows import RowBuffer
from consumer.storage.errors import is_connection_lost, is_row_fault
from consumer.storage.newest_readings import NewestReadings
from consumer.storage.offsets import keys
from consumer.storage.rejected_rows import bisect_rejected_rows
from consumer.storage.row_writers import Connection, WriteContext, letters, write_rows
from sql.queries import queries

ROLLBACK_SECONDS: Final = 2.0


class FencedError(Exception):
    """Another consumer has moved a partition of this batch; nothing was written. Read the stored offsets and go on from there."""

    def __init__(self, partitions: Iterable[TopicPartition]) -> None:
        self.partitions = frozenset(partitions)
        names = ", ".join(sorted(f"{each.topic}-{each.partition}" for each in self.partitions))
        super().__init__(f"the stored offset of {names} is not the expected one")


class CommitOutcomeUnknownError(Exception):
    """The connection broke during COMMIT. The stored offsets tell whether the batch is in; `outcome` is what it did if so."""

    def __init__(self, outcome: BatchResult) -> None:
        super().__init__("the connection was lost during COMMIT")
        self.outcome = outcome


class Store:
    """Writes batches of one consumer group."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", consumer_group: str) -> None:
        self._pool = pool
        self._group = consumer_group
        self._newest = NewestReadings()

    async def write(self, batch: Batch) -> BatchResult:
        """Write a batch in one transaction.

        Raises:
            Fenced: somebody else has written one of the partitions; nothing of the batch was written.
            CommitUnknown: ask the stored offsets whether it was.
            Exception: any other, and nothing was written; worth another try.
        """
        check_duplicates = False
        while True:
            try:
                return await self._attempt(batch, check_duplicates=check_duplicates)
            except asyncpg.UniqueViolationError:
                if check_duplicates:
                    raise
                check_duplicates = True  # a reading believed new is stored already: look at every row of this batch
            except asyncpg.PostgresError as error:
                if not is_row_fault(error):
                    raise
                batch = await self._set_aside_refused(batch, error)

    async def replay(self, batch: Batch) -> BatchResult:
        """Write the rows of a batch of dead letters and resolve these letters, in one transaction; the ledger moves with them.

        Letters of the batch without a row, and those that contradict a stored reading, stay unresolved with today's reason.

        Raises:
            Fenced: somebody else has resolved one of the letters; nothing was written.
            Exception: any other, and nothing was written.
        """
        while True:
            try:
                async with self._pool.acquire() as connection, connection.transaction():
                    return await self._replay_all(connection, batch)
            except asyncpg.PostgresError as error:
                if not is_row_fault(error):
                    raise
                batch = await self._set_aside_refused(batch, error)

    async def _replay_all(self, connection: Connection, batch: Batch) -> BatchResult:
        taken = [record for buffer in batch.rows_by_type.values() for record in buffer.records]
        resolved = [
            row async for row in queries.resolve_letters(connection, **self._letter_keys(taken), how="replayed")
        ]
        if len(resolved) != len(taken):
            raise FencedError({_partition(record) for record in taken})
        late_before = (await queries.hold_late_before(connection))["late_before"]
        written = await write_rows(connection, batch, WriteContext(self._newest, late_before, check_duplicates=True))
        refused = [*batch.dead_letters, *written.conflicts]
        await queries.refuse_letters(
            connection,
            **self._letter_keys(_of(refused)),
            reasons=[letter.reason.value for letter in refused],
            details=[letter.detail for letter in refused],
        )
        settled = _by_partition(taken) - _by_partition(_of(written.conflicts))
        if settled:
            leaving = Counter({partition: -number for partition, number in settled.items()})
            await self._move_in_ledger(connection, _by_partition(written.duplicates), leaving)
        read_again = Counter(record.topic for record in [*taken, *_of(batch.dead_letters)])
        return _outcome(read_again, written.duplicates, refused)

    def _letter_keys(self, records: list[Any]) -> dict[str, Any]:
        return {
            "consumer_group": self._group,
            **keys(map(_partition, records)),
            "offsets": [record.offset for record in records],
        }

    async def _attempt(self, batch: Batch, *, check_duplicates: bool) -> BatchResult:
        async with self._pool.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            try:
                stored, outcome = await self._write_all(connection, batch, check_duplicates=check_duplicates)
            except BaseException:
                await _roll_back(connection, transaction)
                raise
            try:
                await transaction.commit()
            except Exception as error:
                if is_connection_lost(error):
                    raise CommitOutcomeUnknownError(outcome) from error
                raise
        for record_type, rows in stored.items():
            self._newest.learn(record_type, rows)
        return outcome

    async def _write_all(
        self, connection: Connection, batch: Batch, *, check_duplicates: bool
    ) -> tuple[dict[RecordType, list[Row]], BatchResult]:
        late_before = await self._claim(connection, batch)
        written = await write_rows(connection, batch, WriteContext(self._newest, late_before, check_duplicates))
        if written.duplicates or written.conflicts:
            await self._move_in_ledger(
                connection, _by_partition(written.duplicates), _by_partition(_of(written.conflicts))
            )
        refused = [*batch.dead_letters, *written.conflicts]
        await self._insert_dead_letters(connection, refused)
        return written.newest, _outcome(_consumed(batch), written.duplicates, refused)

    async def _claim(self, connection: Connection, batch: Batch) -> datetime:
        """Claim what the batch takes; the instant before which its readings are late."""
        spans = batch.spans
        dead = _by_partition(_of(batch.dead_letters))
        claimed: dict[TopicPartition, datetime] = {
            TopicPartition(row["topic"], row["partition"]): row["late_before"]
            async for row in queries.claim(
                connection,
                consumer_group=self._group,
                **keys(spans),
                expected_offsets=[span.expected_offset for span in spans.values()],
                next_offsets=[span.next_offset for span in spans.values()],
                end_offsets=[span.end_offset for span in spans.values()],
                consumed=[span.consumed for span in spans.values()],
                dead_lettered=[dead[partition] for partition in spans],
            )
        }
        if len(claimed) != len(spans):
            raise FencedError(spans.keys() - claimed.keys())
        return max(claimed.values())

    async def _move_in_ledger(
        self, connection: Connection, repeated: Counter[TopicPartition], refused: Counter[TopicPartition]
    ) -> None:
        partitions = list(repeated.keys() | refused.keys())
        await queries.recount(
            connection,
            consumer_group=self._group,
            **keys(partitions),
            duplicates=[repeated[partition] for partition in partitions],
            dead_lettered=[refused[partition] for partition in partitions],
        )

    async def _insert_dead_letters(self, connection: Connection, refused: list[DeadLetter]) -> None:
        if not refused:
            return
        records = _of(refused)
        await queries.insert_dead_letters(
            connection,
            consumer_group=self._group,
            topics=[record.topic for record in records],
            partitions=[record.partition for record in records],
            offsets=[record.offset for record in records],
            keys=[record.key for record in records],
            values=[record.value for record in records],
            timestamps=[datetime.fromtimestamp(record.timestamp / 1000, UTC) for record in records],
            reasons=[letter.reason.value for letter in refused],
            details=[letter.detail for letter in refused],
        )

    async def _set_aside_refused(self, batch: Batch, error: asyncpg.PostgresError) -> Batch:
        left: dict[RecordType, RowBuffer] = {}
        dead_letters = list(batch.dead_letters)
        for record_type, buffer in batch.rows_by_type.items():
            async with self._pool.acquire() as connection:
                refused = await bisect_rejected_rows(connection, record_type, buffer)
            dead_letters += letters(buffer, refused)
            left[record_type] = buffer.excluding(each.row for each in refused)
        if len(dead_letters) == len(batch.dead_letters):
            raise error  # no single row is to blame: the system's fault after all
        return replace(batch, rows_by_type=left, dead_letters=dead_letters)


async def _roll_back(connection: Connection, transaction: Any) -> None:
    """In bounded time: whoever waits for us to let go of our partitions must not wait for a server that does not answer."""
    try:
        async with asyncio.timeout(ROLLBACK_SECONDS):
            await transaction.rollback()
    except Exception:  # noqa: BLE001 - without its connection the server rolls back by itself
        connection.terminate()


def _partition(record: Any) -> TopicPartition:
    return TopicPartition(record.topic, record.partition)


def _by_partition(records: Iterable[Any]) -> Counter[TopicPartition]:
    return Counter(map(_partition, records))


def _of(dead_letters: Iterable[DeadLetter]) -> list[Any]:
    return [letter.record for letter in dead_letters]


def _outcome(consumed: Counter[str], duplicates: list[Any], dead_letters: Iterable[DeadLetter]) -> BatchResult:
    repeated = Counter(record.topic for record in duplicates)
    refused = Counter((letter.record.topic, letter.reason) for letter in dead_letters)
    written = consumed - repeated
    for (topic, _), count in refused.items():
        written[topic] -= count
    return BatchResult(consumed, written, repeated, refused)


def _consumed(batch: Batch) -> Counter[str]:
    consumed: Counter[str] = Counter()
    for partition, span in batch.spans.items():
        consumed[partition.topic] += span.consumed
    return consumed
