"""Dispatch of a batch's rows to the writer of their type, and the collected result."""

from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from typing import Any, NamedTuple

from consumer.records.batch import Batch, DeadLetter
from consumer.records.record import Record
from consumer.records.record_type import RecordType, RejectedRow, Row
from consumer.records.row_buffer import RowBuffer
from consumer.storage.newest_readings import NewestReadings
from schemas.tracing.tracer import NO_TRACER, Tracer
from sql.queries import queries

Connection = Any  # asyncpg.Connection, or the pool's proxy for one


class Watermarks(NamedTuple):
    """Instants that cannot move until the transaction ends.

    Hours that are changed by rows older than `late_before` are marked for the rollups. Rows older than `folding_before` are
    late readings: their days are folded, or are being folded.
    """

    late_before: datetime
    folding_before: datetime


@dataclass(frozen=True, slots=True)
class WriteContext:
    """What all writers of one transaction share.

    Rows newer than `newest_readings` are written as new; with `check_duplicates`, every row may be stored already.
    `consumer_group` is None in a trial, `incarnation` that of replayed dead letters and None for records that are being read.
    """

    newest_readings: NewestReadings
    watermarks: Watermarks
    check_duplicates: bool
    consumer_group: str | None = None
    incarnation: int | None = None
    tracer: Tracer = NO_TRACER


@dataclass(frozen=True, slots=True)
class WriteResult:
    """The outcome for the rows of a batch. All other rows were written.

    `newest` holds the newest written row of each device, `duplicates` the records that equal what is stored, and `rejected` a
    dead letter for each record that contradicts it: a conflicting reading, an overlapping assignment.
    """

    newest: dict[RecordType, list[Row]] = field(default_factory=dict)
    duplicates: list[Record] = field(default_factory=list)
    rejected: list[DeadLetter] = field(default_factory=list)


async def hold_watermarks(connection: Connection) -> Watermarks:
    """Lock the watermarks for the rest of the transaction, and read them."""
    return Watermarks(*(await queries.hold_watermarks(connection))["watermarks"])


async def write_rows(connection: Connection, batch: Batch, context: WriteContext) -> WriteResult:
    """Write the rows of a batch, in the types' write order.

    Raises:
        asyncpg.UniqueViolationError: a row taken for new is stored already; only without `check_duplicates`.
    """
    result = WriteResult()
    for record_type in sorted(batch.rows_by_type, key=attrgetter("write_order")):
        buffer = batch.rows_by_type[record_type]
        written = await record_type.write(connection, record_type, buffer, context)
        result.newest[record_type] = written.newest
        result.duplicates.extend(buffer.records_for(written.duplicates))
        result.rejected.extend(dead_letters_for(buffer, written.rejected))
    return result


def dead_letters_for(buffer: RowBuffer, rejected: list[RejectedRow]) -> list[DeadLetter]:
    """A dead letter for each rejected row of the buffer."""
    records = buffer.records_for(each.row for each in rejected)
    return [DeadLetter(record, each.reason, each.detail) for record, each in zip(records, rejected, strict=True)]
