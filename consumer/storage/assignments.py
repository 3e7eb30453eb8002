"""Writer of vehicle-meter assignments: the database applies them in the order of arrival and returns the outcome of each."""

from itertools import islice
from typing import Final

from consumer.records.record_type import RecordType, RejectedRow, TypeWriteResult
from consumer.records.row_buffer import RowBuffer
from consumer.storage.row_writers import Connection, WriteContext
from schemas.records.readings import Reason
from sql.queries import queries

ASSIGNMENTS_PER_STATEMENT: Final = 2_000  # takes far less than the statement_timeout


async def write_assignments(
    connection: Connection, record_type: RecordType, buffer: RowBuffer, context: WriteContext, *, origin: str
) -> TypeWriteResult:
    """Write assignments that came from `origin`. What is stored decides which are duplicates and which contradict it."""
    result = TypeWriteResult()
    rows = iter(buffer.rows)
    while chunk := list(islice(rows, ASSIGNMENTS_PER_STATEMENT)):
        vehicles, starts, meters, ends = map(list, zip(*chunk, strict=True))
        declared = queries.declare_assignments(
            connection, vehicle_ids=vehicles, meter_ids=meters, starts=starts, ends=ends, origin=origin
        )
        for row, declaration in zip(chunk, [each async for each in declared], strict=True):
            if declaration["outcome"] == "duplicate":
                result.duplicates.append(row)
            elif declaration["outcome"] == "overlap":
                result.rejected.append(RejectedRow(row, Reason.OVERLAPPING_ASSIGNMENT, declaration["detail"]))
    return result
