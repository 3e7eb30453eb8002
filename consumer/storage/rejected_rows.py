"""The search for the rows of a batch that PostgreSQL rejects.

Halves of the rows are written and rolled back until the rejected rows stand alone.
"""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import asyncpg

from consumer.records.batch import Batch
from consumer.records.record_type import RecordType, RejectedRow
from consumer.records.row_buffer import RowBuffer
from consumer.storage.errors import is_row_error
from consumer.storage.newest_readings import NewestReadings
from consumer.storage.row_writers import Connection, WriteContext, dead_letters_for
from schemas.records.readings import Reason

_TRIAL: Final = WriteContext(NewestReadings(), late_before=datetime.min.replace(tzinfo=UTC), check_duplicates=True)


async def move_rejected_rows(pool: "asyncpg.Pool[asyncpg.Record]", batch: Batch, error: asyncpg.PostgresError) -> Batch:
    """The batch with the rows that PostgreSQL rejects moved to its dead letters.

    Args:
        pool: connections with the right to write.
        batch: a batch whose transaction failed.
        error: the row error with which it failed. It is raised when no single row is rejected.
    """
    accepted: dict[RecordType, RowBuffer] = {}
    dead_letters = list(batch.dead_letters)
    for record_type, buffer in batch.rows_by_type.items():
        async with pool.acquire() as connection:
            rejected = await bisect_rejected_rows(connection, record_type, buffer)
        dead_letters += dead_letters_for(buffer, rejected)
        accepted[record_type] = buffer.excluding(each.row for each in rejected)
    if len(dead_letters) == len(batch.dead_letters):
        raise error  # no single row is rejected, so this is a failure of the system after all
    return replace(batch, rows_by_type=accepted, dead_letters=dead_letters)


async def bisect_rejected_rows(connection: Connection, record_type: RecordType, buffer: RowBuffer) -> list[RejectedRow]:
    """The rows that PostgreSQL rejects for their content, with its messages. All trial writes are rolled back."""
    error = await _try(connection, record_type, buffer) if buffer.rows else None
    if error is None:
        return []
    if len(buffer.rows) == 1:
        return [RejectedRow(buffer.rows[0], Reason.REFUSED_BY_DATABASE, f"SQLSTATE {error.sqlstate}: {error}")]
    return [row for half in buffer.split() for row in await bisect_rejected_rows(connection, record_type, half)]


async def _try(connection: Connection, record_type: RecordType, buffer: RowBuffer) -> asyncpg.PostgresError | None:
    transaction = connection.transaction()
    await transaction.start()
    try:
        await record_type.write(connection, record_type, buffer, _TRIAL)
    except asyncpg.PostgresError as error:
        if not is_row_error(error):
            raise
        return error
    finally:
        if not connection.is_closed():
            await transaction.rollback()
    return None
