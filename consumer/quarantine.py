"""Which rows of a batch does the database refuse? Halves are tried, and undone, until the refused rows stand alone."""

from typing import Any

import asyncpg

from consumer.faults import is_row_fault
from consumer.telemetry import POSITION, Row, Telemetry


async def find_refused(connection: Any, telemetry: Telemetry, rows: list[Row]) -> dict[int, str]:
    """The positions of the rows that are refused for what they hold, with the database's words. Nothing stays written."""
    error = await _try(connection, telemetry, rows) if rows else None
    if error is None:
        return {}
    if len(rows) == 1:
        return {rows[0][POSITION]: f"SQLSTATE {error.sqlstate}: {error}"}
    middle = len(rows) // 2
    first = await find_refused(connection, telemetry, rows[:middle])
    return first | await find_refused(connection, telemetry, rows[middle:])


async def _try(connection: Any, telemetry: Telemetry, rows: list[Row]) -> asyncpg.PostgresError | None:
    transaction = connection.transaction()
    await transaction.start()
    try:
        _ = [row async for row in telemetry.insert_new(connection, **telemetry.columnar(rows))]
    except asyncpg.PostgresError as error:
        if not is_row_fault(error):
            raise
        return error
    finally:
        if not connection.is_closed():
            await transaction.rollback()
    return None
