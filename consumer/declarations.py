"""Assignments -> the database's own rules for them, in the order of arrival; and what became of each."""

from itertools import islice
from operator import itemgetter
from typing import Final

from consumer.kind import POSITION, Kind, RefusedRow, Row, Written
from consumer.writing import Connection, Terms
from schemas.readings import Reason
from sql.queries import queries

AT_ONCE: Final = 2_000  # in one statement: well within its time-out


async def declare(connection: Connection, kind: Kind, rows: list[Row], terms: Terms, *, origin: str) -> Written:
    """Declare assignments that came from `origin`. What is a duplicate or a contradiction is decided by what is stored."""
    written = Written()
    arrived = iter(sorted(rows, key=itemgetter(POSITION)))
    while part := list(islice(arrived, AT_ONCE)):
        vehicles, starts, _, meters, ends = map(list, zip(*part, strict=True))
        outcomes = queries.declare_assignments(
            connection, vehicle_ids=vehicles, meter_ids=meters, starts=starts, ends=ends, origin=origin
        )
        for row, settled in zip(part, [outcome async for outcome in outcomes], strict=True):
            if settled["outcome"] == "duplicate":
                written.duplicates.append(row)
            elif settled["outcome"] == "overlap":
                written.refused.append(RefusedRow(row, Reason.OVERLAPPING_ASSIGNMENT, settled["detail"]))
    return written
