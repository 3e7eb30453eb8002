"""Writer of telemetry readings: history and live status, within the store's transaction.

A row newer than every stored reading of its device is written by COPY. A row that may be stored already is written by
INSERT ... ON CONFLICT DO NOTHING, and where its identity (device, time) is taken, compared with the stored reading. Equal values
make it a duplicate, which is only counted. Different values make it a conflict, which becomes a dead letter: the reading stored
first stays, and of two in one batch the first to arrive. A row of a day that is folded is a late reading: it is compared with all
that is stored of that day, and kept beside the folded rows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from consumer.records.record_type import DEVICE, RECORDED_AT, RejectedRow, Row, TelemetryType, TypeWriteResult
from consumer.records.row_buffer import RowBuffer
from consumer.storage.copy_encoding import encode_copy
from consumer.storage.late_hours import late_hours
from consumer.storage.newest_readings import SplitRows, in_order
from consumer.storage.row_writers import Connection, WriteContext
from schemas.records.readings import Reason
from sql.queries import queries

COPY_TIMEOUT_SECONDS: Final = 120.0
LATE_READINGS_PER_STATEMENT: Final = 2000  # each may be of another device and day, which are decoded
Query = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class StoredReadings:
    """The rows that were new, the instant of the oldest of them that is not a late reading, and the outcome for all rows."""

    new: list[Row]
    oldest: datetime | None
    result: TypeWriteResult


class Insertion(NamedTuple):
    """What became of rows that may be stored already: inserted, equal to the stored reading, or different from it."""

    inserted: list[Row]
    duplicates: list[Row]
    conflicts: list[Row]


async def write_readings(
    connection: Connection,
    telemetry_type: TelemetryType,
    buffer: RowBuffer,
    context: WriteContext,
    *,
    side: str,
    upsert_status: Query,
) -> TypeWriteResult:
    """Write readings to history and live status, and mark the hours that late readings change.

    Raises:
        asyncpg.UniqueViolationError: a reading taken for new is stored already; only without `check_duplicates`.
    """
    stored = await store_readings(connection, telemetry_type, buffer, context)
    if stored.result.newest:
        await upsert_status(connection, **telemetry_type.columnar(stored.result.newest))
    if stored.oldest is not None and stored.oldest < context.watermarks.late_before:
        devices, hours = zip(*late_hours(stored.new, context.watermarks), strict=True)
        await queries.mark_late(connection, side=side, devices=devices, hours=hours)
    return stored.result


async def store_readings(
    connection: Connection, telemetry_type: TelemetryType, buffer: RowBuffer, context: WriteContext
) -> StoredReadings:
    """Write readings to their history table.

    Raises:
        asyncpg.UniqueViolationError: a reading taken for new is stored already; only without `check_duplicates`.
    """
    if context.check_duplicates:
        split = SplitRows(possible_duplicates=in_order(buffer.by_device))
    else:
        split = await context.newest_readings.split(connection, telemetry_type, buffer.by_device)
    late = split.take_older(context.watermarks.folding_before)
    with context.tracer.span("copy", attributes={"energy.rows": len(split.new)}):
        await _copy(connection, telemetry_type, split.new)
    rows = await _insert_rows(connection, telemetry_type, split.possible_duplicates)
    late_rows = await _insert_late(connection, telemetry_type, late)
    inserted = [*rows.inserted, *late_rows.inserted]
    newest = _newest_by_device([*split.newest, *inserted]) if inserted else split.newest
    instants = [row[RECORDED_AT] for row in rows.inserted] + ([split.oldest] if split.oldest else [])
    return StoredReadings(
        new=[*split.new, *inserted] if inserted else split.new,
        oldest=min(instants, default=None),
        result=TypeWriteResult(
            newest,
            [*rows.duplicates, *late_rows.duplicates],
            [_conflict(row) for row in (*rows.conflicts, *late_rows.conflicts)],
        ),
    )


def _conflict(row: Row) -> RejectedRow:
    return RejectedRow(
        row,
        Reason.CONFLICTING_READING,
        f"{row[DEVICE]} has a different reading stored for {row[RECORDED_AT].isoformat()}; the first one is kept",
    )


async def _copy(connection: Connection, telemetry_type: TelemetryType, rows: list[Row]) -> None:
    if rows:
        await connection.copy_to_table(
            telemetry_type.history,
            source=encode_copy(rows),
            format="binary",
            columns=telemetry_type.columns,
            timeout=COPY_TIMEOUT_SECONDS,
        )


async def _insert_rows(connection: Connection, telemetry_type: TelemetryType, rows: list[Row]) -> Insertion:
    """Insert the rows that are not stored yet into history."""
    return await _insert_missing(connection, telemetry_type, telemetry_type.insert_new, telemetry_type.match, rows)


async def _insert_late(connection: Connection, telemetry_type: TelemetryType, rows: list[Row]) -> Insertion:
    """Insert the rows of folded days that are not stored yet as late readings, in statements of bounded duration."""
    late = Insertion([], [], [])
    if rows:
        await queries.hold_merging(connection)
    insert, match = telemetry_type.insert_late, telemetry_type.match_late
    for begin in range(0, len(rows), LATE_READINGS_PER_STATEMENT):
        portion = rows[begin : begin + LATE_READINGS_PER_STATEMENT]
        for all_rows, found in zip(
            late, await _insert_missing(connection, telemetry_type, insert, match, portion), strict=True
        ):
            all_rows.extend(found)
    return late


async def _insert_missing(
    connection: Connection, telemetry_type: TelemetryType, insert: Query, match: Query, rows: list[Row]
) -> Insertion:
    if not rows:
        return Insertion([], [], [])
    newly_stored = {
        (row[DEVICE], row[RECORDED_AT]) async for row in insert(connection, **telemetry_type.columnar(rows))
    }
    inserted: list[Row] = []
    present: list[Row] = []
    for row in rows:  # of several copies, the first is the inserted one
        identity = row[DEVICE], row[RECORDED_AT]
        if identity in newly_stored:
            newly_stored.remove(identity)
            inserted.append(row)
        else:
            present.append(row)
    if not present:
        return Insertion(inserted, [], [])
    # The stored values are compared exactly: the queries `match_*` in sql/queries.
    matches = [row["same"] async for row in match(connection, **telemetry_type.columnar(present))]
    if None in matches:
        raise RuntimeError("a stored reading disappeared while it was compared with its copy")
    return Insertion(
        inserted,
        duplicates=[row for row, same in zip(present, matches, strict=True) if same],
        conflicts=[row for row, same in zip(present, matches, strict=True) if not same],
    )


def _newest_by_device(rows: list[Row]) -> list[Row]:
    newest: dict[str, Row] = {}
    for row in rows:
        before = newest.get(row[DEVICE])
        if before is None or row[RECORDED_AT] > before[RECORDED_AT]:
            newest[row[DEVICE]] = row
    return [newest[device] for device in sorted(newest)]  # every writer locks in this order, which prevents deadlocks
