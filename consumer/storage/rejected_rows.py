"""Which rows of a batch does the database refuse? Halves are tried, and undone, until the refused rows stand alone."""

from datetime import UTC, datetime
from typing import Final

import asyncpg

from consumer.records.record_type import Kind, RefusedRow
from consumer.records.rows import Arrived
from consumer.storage.errors import is_row_fault
from consumer.storage.newest_readings import NewestReadings
from consumer.storage.row_writers import Connection, Terms
from schemas.records.readings import Reason

_TRIAL: Final = Terms(NewestReadings(), late_before=datetime.min.replace(tzinfo=UTC), cautious=True)


async def find_refused(connection: Connection, kind: Kind, arrived: Arrived) -> list[RefusedRow]:
    """The rows that are refused for what they hold, with the database's words. Nothing stays written."""
    error = await _try(connection, kind, arrived) if arrived.rows else None
    if error is None:
        return []
    if len(arrived.rows) == 1:
        return [RefusedRow(arrived.rows[0], Reason.REFUSED_BY_DATABASE, f"SQLSTATE {error.sqlstate}: {error}")]
    return [row for half in arrived.halves() for row in await find_refused(connection, kind, half)]


async def _try(connection: Connection, kind: Kind, arrived: Arrived) -> asyncpg.PostgresError | None:
    transaction = connection.transaction()
    await transaction.start()
    try:
        await kind.write(connection, kind, arrived, _TRIAL)
    except asyncpg.PostgresError as error:
        if not is_row_fault(error):
            raise
        return error
    finally:
        if not connection.is_closed():
            await transaction.rollback()
    return None
