"""The search for the rows of a batch that make its transaction fail.

Halves of the rows are written and rolled back until the failing rows stand alone.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final, TypeVar

import asyncpg

from consumer.records.batch import Batch
from consumer.records.record_type import RecordType, RejectedRow
from consumer.records.row_buffer import Pair, RowBuffer, buffer_of
from consumer.storage.errors import describe, is_passing, is_rejection
from consumer.storage.newest_readings import NewestReadings
from consumer.storage.row_writers import Connection, WriteContext, dead_letters_for, hold_watermarks
from consumer.storage.transactions import trial
from schemas.records.readings import Reason

T = TypeVar("T")
MOST_FAILING: Final = 1000  # items; above, the program is broken and not some records


async def move_rejected_rows(pool: "asyncpg.Pool[asyncpg.Record]", batch: Batch, error: Exception) -> Batch:
    """The batch with the rows that make its transaction fail moved to its dead letters.

    Args:
        pool: connections with the right to write.
        batch: a batch whose transaction failed.
        error: the error with which it failed, and which does not pass. It is raised when no single row causes it.

    Raises:
        Exception: also an error that may pass (`is_passing`).
    """
    accepted: dict[RecordType, RowBuffer] = {}
    dead_letters = list(batch.dead_letters)
    for record_type, buffer in batch.rows_by_type.items():
        async with pool.acquire() as connection:
            rejected = await _rejected_rows(connection, record_type, buffer)
        dead_letters += dead_letters_for(buffer, rejected)
        accepted[record_type] = buffer.excluding(each.row for each in rejected)
    if len(dead_letters) == len(batch.dead_letters):
        raise error
    return replace(batch, rows_by_type=accepted, dead_letters=dead_letters)


async def failing_items(
    connection: Connection, items: Sequence[T], write: Callable[[Sequence[T]], Awaitable[object]]
) -> list[tuple[T, Exception]]:
    """The items that `write` cannot write within a transaction, with its errors. All trial writes are rolled back.

    Raises:
        Exception: an error that may pass (`is_passing`), or one of our own that concerns more than MOST_FAILING items.
    """
    failing: list[tuple[T, Exception]] = []
    parts = [items]
    while parts:
        part = parts.pop()
        error = await _error_of(connection, part, write) if part else None
        if error and len(part) > 1:
            middle = len(part) // 2
            parts += [part[middle:], part[:middle]]
        elif error:
            failing.append((part[0], error))
            if len(failing) > MOST_FAILING and not is_rejection(error):
                raise error
    return failing


async def _error_of(
    connection: Connection, items: Sequence[T], write: Callable[[Sequence[T]], Awaitable[object]]
) -> Exception | None:
    try:
        async with trial(connection):
            await write(items)
    except Exception as error:
        if is_passing(error):
            raise
        return error
    return None


async def _rejected_rows(connection: Connection, record_type: RecordType, buffer: RowBuffer) -> list[RejectedRow]:
    async def write(pairs: Sequence[Pair]) -> None:
        context = WriteContext(NewestReadings(), await hold_watermarks(connection), check_duplicates=True)
        await record_type.write(connection, record_type, buffer_of(pairs), context)

    failing = await failing_items(connection, buffer.pairs(), write)
    return [RejectedRow(row, *_reason(error)) for (row, _), error in failing]


def _reason(error: Exception) -> tuple[Reason, str]:
    return (Reason.REFUSED_BY_DATABASE if is_rejection(error) else Reason.INTERNAL_ERROR), describe(error)
