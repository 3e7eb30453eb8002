"""Batch -> one transaction: claim, history, live status, dead letters, ledger. All of it or nothing.

BEGIN -> claim (the fence) -> history (COPY; staged where a reading may be there already) -> live status -> dead letters -> COMMIT
"""

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any, Final

import asyncpg
from aiokafka import TopicPartition

from consumer.batch import Batch, DeadLetter, Outcome
from consumer.faults import is_connection_lost, is_row_fault
from consumer.known import NewestReadings
from consumer.offsets import keys
from consumer.quarantine import find_refused
from consumer.telemetry import DEVICE, POSITION, RECORDED_AT, Row, Telemetry
from schemas.readings import Reason
from sql.queries import queries

Connection = Any  # asyncpg.Connection, or the pool's proxy of one
COPY_TIMEOUT: Final = 120.0
ROLLBACK_SECONDS: Final = 2.0


class Fenced(Exception):  # noqa: N818 - the word of the trade for a writer that has been shut out
    """Another consumer has moved a partition of this batch; nothing was written. Read the stored offsets and go on from there."""

    def __init__(self, partitions: Iterable[TopicPartition]) -> None:
        self.partitions = frozenset(partitions)
        names = ", ".join(sorted(f"{each.topic}-{each.partition}" for each in self.partitions))
        super().__init__(f"the stored offset of {names} is not the expected one")


class CommitUnknown(Exception):  # noqa: N818 - not an error yet
    """The connection broke during COMMIT. The stored offsets tell whether the batch is in; `outcome` is what it did if so."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__("the connection was lost during COMMIT")
        self.outcome = outcome


class Store:
    """Writes batches of one consumer group."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", consumer_group: str) -> None:
        self._pool = pool
        self._group = consumer_group
        self._newest = NewestReadings()

    async def write(self, batch: Batch) -> Outcome:
        """Write a batch in one transaction.

        Raises:
            Fenced: somebody else has written one of the partitions; nothing of the batch was written.
            CommitUnknown: ask the stored offsets whether it was.
            Exception: any other, and nothing was written; worth another try.
        """
        cautious = False
        while True:
            try:
                return await self._attempt(batch, cautious=cautious)
            except asyncpg.UniqueViolationError:
                if cautious:
                    raise
                cautious = True  # a reading believed new is stored already: look at every row of this batch
            except asyncpg.PostgresError as error:
                if not is_row_fault(error):
                    raise
                batch = await self._set_aside_refused(batch, error)

    async def replay(self, batch: Batch) -> Outcome:
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

    async def _replay_all(self, connection: Connection, batch: Batch) -> Outcome:
        taken = [batch.records[row[POSITION]] for rows in batch.rows.values() for row in rows]
        resolved = [
            row async for row in queries.resolve_letters(connection, **self._letter_keys(taken), how="replayed")
        ]
        if len(resolved) != len(taken):
            raise Fenced({_partition(record) for record in taken})
        _, duplicates, conflicts = await self._write_rows(connection, batch, cautious=True)
        refused = [*batch.dead_letters, *conflicts]
        await queries.refuse_letters(
            connection,
            **self._letter_keys([letter.record for letter in refused]),
            reasons=[letter.reason.value for letter in refused],
            details=[letter.detail for letter in refused],
        )
        repeated = Counter(_partition(batch.records[row[POSITION]]) for row in duplicates)
        settled = Counter(map(_partition, taken)) - Counter(_partition(letter.record) for letter in conflicts)
        if settled:
            await self._move_in_ledger(connection, repeated, Counter({each: -settled[each] for each in settled}))
        return _outcome(batch, Counter(record.topic for record in batch.records), duplicates, refused)

    def _letter_keys(self, records: list[Any]) -> dict[str, Any]:
        return {
            "consumer_group": self._group,
            **keys(map(_partition, records)),
            "offsets": [record.offset for record in records],
        }

    async def _attempt(self, batch: Batch, *, cautious: bool) -> Outcome:
        async with self._pool.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            try:
                stored, outcome = await self._write_all(connection, batch, cautious=cautious)
            except BaseException:
                await _roll_back(connection, transaction)
                raise
            try:
                await transaction.commit()
            except Exception as error:
                if is_connection_lost(error):
                    raise CommitUnknown(outcome) from error
                raise
        for telemetry, rows in stored.items():
            self._newest.learn(telemetry, rows)
        return outcome

    async def _write_all(
        self, connection: Connection, batch: Batch, *, cautious: bool
    ) -> tuple[dict[Telemetry, list[Row]], Outcome]:
        await self._claim(connection, batch)
        newest, duplicates, conflicts = await self._write_rows(connection, batch, cautious=cautious)
        await self._recount(connection, batch, duplicates, conflicts)
        letters = [*batch.dead_letters, *conflicts]
        await self._insert_dead_letters(connection, letters)
        return newest, _outcome(batch, _consumed(batch), duplicates, letters)

    async def _write_rows(
        self, connection: Connection, batch: Batch, *, cautious: bool
    ) -> tuple[dict[Telemetry, list[Row]], list[Row], list[DeadLetter]]:
        """History and live status: the newest row of each device, the duplicates, and what contradicts the stored readings."""
        newest_written: dict[Telemetry, list[Row]] = {}
        duplicates: list[Row] = []
        conflicts: list[DeadLetter] = []
        for telemetry, rows in batch.rows.items():
            fresh, doubtful = ([], rows) if cautious else await self._newest.split(connection, telemetry, rows)
            await _copy(connection, telemetry, fresh)
            inserted, same, different = await _insert_doubtful(connection, telemetry, doubtful)
            duplicates += same
            conflicts += [_conflict(batch, row) for row in different]
            newest_written[telemetry] = _newest_of_each_device(fresh, inserted)
            if newest_written[telemetry]:
                await telemetry.upsert_status(connection, **telemetry.columnar(newest_written[telemetry]))
        return newest_written, duplicates, conflicts

    async def _claim(self, connection: Connection, batch: Batch) -> None:
        spans = batch.spans
        dead = Counter(_partition(letter.record) for letter in batch.dead_letters)
        claimed = {
            TopicPartition(row["topic"], row["partition"])
            async for row in queries.claim(
                connection,
                consumer_group=self._group,
                **keys(spans),
                expected_offsets=[span.expected_offset for span in spans.values()],
                next_offsets=[span.next_offset for span in spans.values()],
                consumed=[span.consumed for span in spans.values()],
                dead_lettered=[dead[partition] for partition in spans],
            )
        }
        if len(claimed) != len(spans):
            raise Fenced(spans.keys() - claimed)

    async def _recount(
        self, connection: Connection, batch: Batch, duplicates: list[Row], conflicts: list[DeadLetter]
    ) -> None:
        if not duplicates and not conflicts:
            return
        repeated = Counter(_partition(batch.records[row[POSITION]]) for row in duplicates)
        await self._move_in_ledger(connection, repeated, Counter(_partition(letter.record) for letter in conflicts))

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

    async def _insert_dead_letters(self, connection: Connection, letters: list[DeadLetter]) -> None:
        if not letters:
            return
        records = [letter.record for letter in letters]
        await queries.insert_dead_letters(
            connection,
            consumer_group=self._group,
            topics=[record.topic for record in records],
            partitions=[record.partition for record in records],
            offsets=[record.offset for record in records],
            keys=[record.key for record in records],
            values=[record.value for record in records],
            timestamps=[datetime.fromtimestamp(record.timestamp / 1000, UTC) for record in records],
            reasons=[letter.reason.value for letter in letters],
            details=[letter.detail for letter in letters],
        )

    async def _set_aside_refused(self, batch: Batch, error: asyncpg.PostgresError) -> Batch:
        rows: dict[Telemetry, list[Row]] = {}
        letters = list(batch.dead_letters)
        for telemetry, candidates in batch.rows.items():
            async with self._pool.acquire() as connection:
                refused = await find_refused(connection, telemetry, candidates)
            letters += [
                DeadLetter(batch.records[position], Reason.REFUSED_BY_DATABASE, why)
                for position, why in refused.items()
            ]
            rows[telemetry] = [row for row in candidates if row[POSITION] not in refused]
        if len(letters) == len(batch.dead_letters):
            raise error  # no single row is to blame: the system's fault after all
        return replace(batch, rows=rows, dead_letters=letters)


async def _roll_back(connection: Connection, transaction: Any) -> None:
    """In bounded time: whoever waits for us to let go of our partitions must not wait for a server that does not answer."""
    try:
        async with asyncio.timeout(ROLLBACK_SECONDS):
            await transaction.rollback()
    except Exception:  # noqa: BLE001 - without its connection the server rolls back by itself
        connection.terminate()


def _partition(record: Any) -> TopicPartition:
    return TopicPartition(record.topic, record.partition)


def _conflict(batch: Batch, row: Row) -> DeadLetter:
    return DeadLetter(
        batch.records[row[POSITION]],
        Reason.CONFLICTING_READING,
        f"{row[DEVICE]} has another reading stored for {row[RECORDED_AT].isoformat()}; the first is kept",
    )


async def _copy(connection: Connection, telemetry: Telemetry, rows: list[Row]) -> None:
    if not rows:
        return
    columns = itemgetter(*(index for index in range(len(rows[0])) if index != POSITION))
    await connection.copy_records_to_table(
        telemetry.history, records=map(columns, rows), columns=telemetry.columns, timeout=COPY_TIMEOUT
    )


async def _insert_doubtful(
    connection: Connection, telemetry: Telemetry, rows: list[Row]
) -> tuple[list[Row], list[Row], list[Row]]:
    """Rows that may be stored already: those inserted, those that say the same as what is stored, those that contradict it."""
    if not rows:
        return [], [], []
    unclaimed = {(row[0], row[1]) async for row in telemetry.insert_new(connection, **telemetry.columnar(rows))}
    inserted: list[Row] = []
    present: list[Row] = []
    for row in rows:  # of several copies the first is the one that was inserted
        identity = row[DEVICE], row[RECORDED_AT]
        if identity in unclaimed:
            unclaimed.remove(identity)
            inserted.append(row)
        else:
            present.append(row)
    if not present:
        return inserted, [], []
    matches = [row["same"] async for row in telemetry.match(connection, **telemetry.columnar(present))]
    if None in matches:
        raise RuntimeError("a stored reading has disappeared while its copy was compared with it")
    same = [row for row, match in zip(present, matches, strict=True) if match]
    different = [row for row, match in zip(present, matches, strict=True) if not match]
    return inserted, same, different


def _newest_of_each_device(*sorted_rows: list[Row]) -> list[Row]:
    newest: dict[str, Row] = {}
    for rows in sorted_rows:
        for row in rows:
            known = newest.get(row[DEVICE])
            if known is None or row[RECORDED_AT] > known[RECORDED_AT]:
                newest[row[DEVICE]] = row
    return sorted(newest.values())  # one order for every writer, so that two never wait for each other in a circle


def _outcome(batch: Batch, consumed: Counter[str], duplicates: list[Row], letters: Iterable[DeadLetter]) -> Outcome:
    repeated = Counter(batch.records[row[POSITION]].topic for row in duplicates)
    refused = Counter((letter.record.topic, letter.reason) for letter in letters)
    written = consumed - repeated
    for (topic, _), count in refused.items():
        written[topic] -= count
    return Outcome(consumed, written, repeated, refused)


def _consumed(batch: Batch) -> Counter[str]:
    consumed: Counter[str] = Counter()
    for partition, span in batch.spans.items():
        consumed[partition.topic] += span.consumed
    return consumed
