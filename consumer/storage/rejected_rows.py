"""Which rows of a batch does the database refuse? Halves are tried, and undone, until the refused rows stand alone."""

from datetime import UTC, datetime
from typing import Final

import asyncpg

from consumer.records.record_type import RecordType, RejectedRow
from consumer.records.rows import RowBuffer
from consumer.storage.errors import is_row_fault
from consumer.storage.newest_readings import NewestReadings
from consumer.storage.row_writers import Connection, WriteContext
from schemas.records.readings import Reason

_TRIAL: Final = WriteContext(NewestReadings(), late_before=datetime.min.replace(tzinfo=UTC), check_duplicates=True)


async def bisect_rejected_rows(connection: Connection, record_type: RecordType, buffer: RowBuffer) -> list[RejectedRow]:
    """The rows that are refused for what they hold, with the database's words. Nothing stays written."""
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
        if not is_row_fault(error):
            raise
        return error
    finally:
        if not connection.is_closed():
            await transaction.rollback()
    return None
