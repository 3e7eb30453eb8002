"""Writer of vehicle-meter assignments: the database applies them in the order of arrival and returns the outcome of each."""

from collections.abc import Sequence
from itertools import compress, islice
from typing import Final

from consumer.records.record_type import RecordType, RejectedRow, Row, TypeWriteResult
from consumer.records.row_buffer import Pair, RowBuffer
from consumer.storage.row_writers import Connection, WriteContext
from schemas.records.readings import Reason
from sql.queries import queries

ASSIGNMENTS_PER_STATEMENT: Final = 2_000  # takes far less than the statement_timeout


async def write_assignments(
    connection: Connection, record_type: RecordType, buffer: RowBuffer, context: WriteContext, *, origin: str
) -> TypeWriteResult:
    """Write assignments that came from `origin`. What is stored decides which are duplicates and which contradict it.

    Records that are read again are duplicates whatever became of them, and so are those that a later record of their partition
    has corrected.
    """
    result = TypeWriteResult()
    pairs = iter(buffer.pairs())
    while chunk := list(islice(pairs, ASSIGNMENTS_PER_STATEMENT)):
        deciding = await _deciding(connection, chunk, context)
        result.duplicates.extend(row for (row, _), decides in zip(chunk, deciding, strict=True) if not decides)
        rows = [row for row, _ in compress(chunk, deciding)]
        if rows:
            await _declare(connection, rows, origin, result)
    return result


async def _deciding(connection: Connection, pairs: Sequence[Pair], context: WriteContext) -> list[bool]:
    """Whether each record may still decide about its assignment."""
    if context.consumer_group is None:
        return [True] * len(pairs)
    vehicles, starts, *_ = map(list, zip(*(row for row, _ in pairs), strict=True))
    advanced = queries.advance_assignments(
        connection,
        consumer_group=context.consumer_group,
        topic=pairs[0][1].topic_partition.topic,
        partitions=[record.topic_partition.partition for _, record in pairs],
        offsets=[record.offset for _, record in pairs],
        vehicle_ids=vehicles,
        starts=starts,
        incarnation=context.incarnation,
    )
    return [row["decides"] async for row in advanced]


async def _declare(connection: Connection, rows: Sequence[Row], origin: str, result: TypeWriteResult) -> None:
    vehicles, starts, meters, ends = map(list, zip(*rows, strict=True))
    declared = queries.declare_assignments(
        connection, vehicle_ids=vehicles, meter_ids=meters, starts=starts, ends=ends, origin=origin
    )
    for row, declaration in zip(rows, [each async for each in declared], strict=True):
        if declaration["outcome"] == "duplicate":
            result.duplicates.append(row)
        elif declaration["outcome"] == "overlap":
            result.rejected.append(RejectedRow(row, Reason.OVERLAPPING_ASSIGNMENT, declaration["detail"]))
