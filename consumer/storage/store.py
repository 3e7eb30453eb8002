"""The store: writes each batch in one PostgreSQL transaction, all of it or nothing.

BEGIN -> claim offsets (the fence) -> rows, by type -> dead letters -> adjust the ledger (duplicates, conflicts) -> COMMIT
"""

from collections.abc import Sequence

import asyncpg
import structlog

from consumer.records.batch import Batch, BatchResult, DeadLetter, count_result
from consumer.records.record import Record
from consumer.storage.dead_letters import insert_dead_letters
from consumer.storage.errors import CommitOutcomeUnknownError, FencedError, describe, is_passing, is_rejection
from consumer.storage.ledger import adjust_ledger, claim_offsets, count_by_partition
from consumer.storage.newest_readings import NewestReadings
from consumer.storage.rejected_rows import move_rejected_rows
from consumer.storage.row_writers import Connection, WriteContext, write_rows
from consumer.storage.transactions import begin, commit
from schemas.tracing.tracer import NO_TRACER, Tracer

log = structlog.get_logger(__name__)


class Store:
    """Writes batches of one consumer group."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", consumer_group: str, tracer: Tracer = NO_TRACER) -> None:
        self._pool = pool
        self._group = consumer_group
        self._tracer = tracer
        self._newest_readings = NewestReadings()

    async def write(self, batch: Batch) -> BatchResult:
        """Write a batch in one transaction; records that make it fail become dead letters.

        Raises:
            FencedError: another consumer has moved the offset of one of the partitions; nothing was written.
            CommitOutcomeUnknownError: the stored offsets show whether the batch was written. So they do after a cancellation
                during COMMIT, for the partitions' next consumer.
            Exception: any other error; nothing was written. The batch may be retried if `is_passing`; else the error is our
                own, and no single record causes it.
        """
        check_duplicates = False
        while True:
            try:
                return await self._write_once(batch, check_duplicates=check_duplicates)
            except (FencedError, CommitOutcomeUnknownError):
                raise
            except Exception as error:
                if is_passing(error):
                    raise
                taken_for_new = isinstance(error, asyncpg.UniqueViolationError) and not check_duplicates
                if not taken_for_new:
                    log.error(
                        "write_failed", error=describe(error), records=len(batch), exc_info=not is_rejection(error)
                    )
                if check_duplicates or (is_rejection(error) and not taken_for_new):
                    batch = await move_rejected_rows(self._pool, batch, error)
                check_duplicates = True  # the next attempt does not use COPY, and takes no row for new

    async def _write_once(self, batch: Batch, *, check_duplicates: bool) -> BatchResult:
        async with self._pool.acquire() as connection:
            async with begin(connection) as transaction:
                with self._tracer.span("claim"):
                    watermarks = await claim_offsets(connection, self._group, batch)  # the fence
                context = WriteContext(
                    self._newest_readings, watermarks, check_duplicates, self._group, tracer=self._tracer
                )
                with self._tracer.span("write"):
                    written = await write_rows(connection, batch, context)
                dead_letters, present = await insert_dead_letters(
                    connection, self._group, [*batch.dead_letters, *written.rejected]
                )
                duplicates = [*written.duplicates, *(each.record for each in present)]
                await self._count_exceptions(connection, batch, duplicates, dead_letters)
                result = count_result(batch.consumed_by_topic(), duplicates, dead_letters)
            with self._tracer.span("commit"):  # outside the block: after a failed COMMIT there is nothing to roll back
                await commit(transaction, result)
        self._newest_readings.update(written.newest)  # only after COMMIT
        return result

    async def _count_exceptions(
        self, connection: Connection, batch: Batch, duplicates: Sequence[Record], dead_letters: Sequence[DeadLetter]
    ) -> None:
        """Correct the ledger where the claim was wrong: it counted the dead letters of the batch, and all others as written."""
        dead_lettered = count_by_partition(each.record for each in dead_letters)
        dead_lettered.subtract(count_by_partition(each.record for each in batch.dead_letters))
        await adjust_ledger(
            connection, self._group, duplicates=count_by_partition(duplicates), dead_lettered=dead_lettered
        )
