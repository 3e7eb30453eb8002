"""Import of vehicle-meter assignments from CSV: which meter measured which vehicle, and when."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Final

import asyncpg

from schemas.records.assignments import CALENDAR
from schemas.records.readings import ID_RULE, valid_id
from sql.queries import queries

HEADER: Final = ["vehicle_id", "meter_id", "valid_from", "valid_to"]


class AssignmentError(Exception):
    """The file is not valid, or contradicts stored assignments; nothing was imported. The message names the line."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """A vehicle drew from a meter during [valid_from, valid_to); None is an open end. `line` is the line number in the file."""

    line: int
    vehicle_id: str
    meter_id: str
    valid_from: datetime
    valid_to: datetime | None


def read_assignments(lines: Iterable[str]) -> list[Assignment]:
    """The assignments of a CSV file with the header `vehicle_id,meter_id,valid_from,valid_to`.

    Raises:
        AssignmentError: a line is not valid, or two lines assign one vehicle or one meter at the same time.
    """
    reader = csv.reader(lines)
    header = next(reader, None)
    if header is None or [name.strip().lower() for name in header] != HEADER:
        raise AssignmentError(f"line 1 must be the header {','.join(HEADER)}")
    assignments = [_read_line(reader.line_num, row) for row in reader if row]
    for device in ("vehicle_id", "meter_id"):
        _reject_overlaps(assignments, device)
    return assignments


def _read_line(line: int, row: list[str]) -> Assignment:
    if len(row) != len(HEADER):
        raise AssignmentError(f"line {line}: {len(HEADER)} columns expected, {len(row)} found")
    vehicle_id, meter_id, start, end = (cell.strip() for cell in row)
    for name, value in (("vehicle_id", vehicle_id), ("meter_id", meter_id)):
        if not valid_id(value):
            raise AssignmentError(f"line {line}: {name} must be {ID_RULE}")
    valid_from = _instant(line, "valid_from", start)
    valid_to = _instant(line, "valid_to", end) if end else None
    if valid_to is not None and valid_to <= valid_from:
        raise AssignmentError(f"line {line}: valid_to must be later than valid_from")
    return Assignment(line, vehicle_id, meter_id, valid_from, valid_to)


def _instant(line: int, name: str, text: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise AssignmentError(
            f"line {line}: {name} must be RFC 3339 with an offset, like 2026-02-09T15:30:00Z; found {text!r}"
        )
    if error := CALENDAR.check(instant, name):
        raise AssignmentError(f"line {line}: {error.detail}")
    return instant


def _reject_overlaps(assignments: list[Assignment], device: str) -> None:
    ordered = sorted(assignments, key=lambda each: (getattr(each, device), each.valid_from))
    for earlier, later in pairwise(ordered):
        same = getattr(earlier, device) == getattr(later, device)
        if same and (earlier.valid_to is None or later.valid_from < earlier.valid_to):
            raise AssignmentError(
                f"lines {earlier.line} and {later.line} overlap for {device} {getattr(earlier, device)}"
            )


async def write_assignments(
    connection: "asyncpg.Connection[asyncpg.Record]", assignments: list[Assignment], origin: str
) -> None:
    """Store all assignments or none. An assignment that is stored with the same beginning gets the new end.

    Raises:
        AssignmentError: an assignment overlaps with a stored one.
    """
    try:
        async with connection.transaction():
            await queries.lock_assignments(connection)
            await queries.upsert_assignments(
                connection,
                vehicle_ids=[each.vehicle_id for each in assignments],
                meter_ids=[each.meter_id for each in assignments],
                starts=[each.valid_from for each in assignments],
                ends=[each.valid_to for each in assignments],
                origin=origin,
            )
    except asyncpg.ExclusionViolationError as error:
        raise AssignmentError(f"an assignment of the file overlaps with a stored one: {error.detail}") from error
