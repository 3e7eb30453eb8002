"""Rows of a batch -> the writer of each kind, in one order; and what became of them all."""

from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from typing import Any

from consumer.records.batch import Batch, DeadLetter
from consumer.records.record_type import RecordType, RejectedRow, Row
from consumer.records.rows import RowBuffer
from consumer.storage.newest_readings import NewestReadings

Connection = Any  # asyncpg.Connection, or the pool's proxy of one


@dataclass(frozen=True, slots=True)
class WriteContext:
    """What the writers of one transaction go by.

    `known` is what this process has seen; with `check_duplicates` every row is treated as possibly stored already.
    Hours that rows older than `late_before` change are marked for the rollups.
    """

    known: NewestReadings
    late_before: datetime
    check_duplicates: bool


@dataclass(frozen=True, slots=True)
class WriteResult:
    """The newest row written of each device, the records that were stored already, and those that contradict what is stored."""

    newest: dict[RecordType, list[Row]] = field(default_factory=dict)
    duplicates: list[Any] = field(default_factory=list)
    conflicts: list[DeadLetter] = field(default_factory=list)


async def write_rows(connection: Connection, batch: Batch, context: WriteContext) -> WriteResult:
    """Write a batch's rows.

    Raises:
        asyncpg.UniqueViolationError: a row believed new is stored already; only when not cautious.
    """
    settled = WriteResult()
    for record_type in sorted(batch.rows_by_type, key=attrgetter("turn")):
        buffer = batch.rows_by_type[record_type]
        written = await record_type.write(connection, record_type, buffer, context)
        settled.newest[record_type] = written.newest
        settled.duplicates.extend(buffer.records_for(written.duplicates))
        settled.conflicts.extend(letters(buffer, written.refused))
    return settled


def letters(buffer: RowBuffer, refused: list[RejectedRow]) -> list[DeadLetter]:
    """The dead letters of refused rows."""
    records = buffer.records_for(each.row for each in refused)
    return [DeadLetter(record, each.reason, each.detail) for record, each in zip(records, refused, strict=True)]
