"""Assignments -> the database's own rules for them, in the order of arrival; and what became of each."""

from itertools import islice
from typing import Final

from consumer.records.record_type import RecordType, RejectedRow, TypeWriteResult
from consumer.records.rows import RowBuffer
from consumer.storage.row_writers import Connection, WriteContext
from schemas.records.readings import Reason
from sql.queries import queries

AT_ONCE: Final = 2_000  # in one statement: well within its time-out


async def write_assignments(
    connection: Connection, record_type: RecordType, buffer: RowBuffer, context: WriteContext, *, origin: str
) -> TypeWriteResult:
    """Declare assignments that came from `origin`. What is a duplicate or a contradiction is decided by what is stored."""
    written = TypeWriteResult()
    rows = iter(buffer.rows)
    while part := list(islice(rows, AT_ONCE)):
        vehicles, starts, meters, ends = map(list, zip(*part, strict=True))
        outcomes = queries.declare_assignments(
            connection, vehicle_ids=vehicles, meter_ids=meters, starts=starts, ends=ends, origin=origin
        )
        for row, settled in zip(part, [outcome async for outcome in outcomes], strict=True):
            if settled["outcome"] == "duplicate":
                written.duplicates.append(row)
            elif settled["outcome"] == "overlap":
                written.refused.append(RejectedRow(row, Reason.OVERLAPPING_ASSIGNMENT, settled["detail"]))
    return written
