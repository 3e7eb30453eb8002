"""Which rows of a batch does the database refuse? Halves are tried, and undone, until the refused rows stand alone."""

from datetime import UTC, datetime
from typing import Final

import asyncpg

from consumer.faults import is_row_fault
from consumer.kind import POSITION, Kind, Row
from consumer.known import NewestReadings
from consumer.writing import Connection, Terms

_TRIAL: Final = Terms(NewestReadings(), late_before=datetime.min.replace(tzinfo=UTC), cautious=True)


async def find_refused(connection: Connection, kind: Kind, rows: list[Row]) -> dict[int, str]:
    """The positions of the rows that are refused for what they hold, with the database's words. Nothing stays written."""
    error = await _try(connection, kind, rows) if rows else None
    if error is None:
        return {}
    if len(rows) == 1:
        return {rows[0][POSITION]: f"SQLSTATE {error.sqlstate}: {error}"}
    middle = len(rows) // 2
    first = await find_refused(connection, kind, rows[:middle])
    return first | await find_refused(connection, kind, rows[middle:])


async def _try(connection: Connection, kind: Kind, rows: list[Row]) -> asyncpg.PostgresError | None:
    transaction = connection.transaction()
    await transaction.start()
    try:
        await kind.write(connection, kind, rows, _TRIAL)
    except asyncpg.PostgresError as error:
        if not is_row_fault(error):
            raise
        return error
    finally:
        if not connection.is_closed():
            await transaction.rollback()
    return None
