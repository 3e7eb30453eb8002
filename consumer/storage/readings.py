"""Rows -> history and live status, inside the store's transaction; and what became of each.

newer than anything stored of its device -> COPY; maybe stored already -> INSERT ... ON CONFLICT DO NOTHING, and the rest compared
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from consumer.records.record_type import DEVICE, RECORDED_AT, RejectedRow, Row, TelemetryType, TypeWriteResult
from consumer.records.rows import RowBuffer
from consumer.storage.copy_encoding import encode_copy
from consumer.storage.late_hours import late_hours
from consumer.storage.newest_readings import SplitRows, in_order
from consumer.storage.row_writers import Connection, WriteContext
from schemas.records.readings import Reason
from sql.queries import queries

COPY_TIMEOUT: Final = 120.0


@dataclass(frozen=True, slots=True)
class Stored:
    """The rows that were new, the instant of the oldest of them, and what became of all."""

    new: list[Row]
    oldest: datetime | None
    written: TypeWriteResult


async def write_readings(
    connection: Connection,
    telemetry_type: TelemetryType,
    buffer: RowBuffer,
    context: WriteContext,
    *,
    side: str,
    upsert_status: Callable[..., Any],
) -> TypeWriteResult:
    """Write readings into history and live status, and mark the hours that late ones change.

    Raises:
        asyncpg.UniqueViolationError: a row believed new is stored already; only when not cautious.
    """
    stored = await store_readings(connection, telemetry_type, buffer, context)
    if stored.written.newest:
        await upsert_status(connection, **telemetry_type.columnar(stored.written.newest))
    if stored.oldest is not None and stored.oldest < context.late_before:
        devices, hours = zip(*late_hours(stored.new, context.late_before), strict=True)
        await queries.mark_late(connection, side=side, devices=devices, hours=hours)
    return stored.written


async def store_readings(
    connection: Connection, telemetry_type: TelemetryType, buffer: RowBuffer, context: WriteContext
) -> Stored:
    """Put readings into their history.

    Raises:
        asyncpg.UniqueViolationError: as above.
    """
    if context.check_duplicates:
        parted = SplitRows(possible_duplicates=in_order(buffer.by_device))
    else:
        parted = await context.known.part(connection, telemetry_type, buffer.by_device)
    await _copy(connection, telemetry_type, parted.fresh)
    inserted, same, different = await _insert_doubtful(connection, telemetry_type, parted.possible_duplicates)
    newest = _newest_of_each_device([*parted.newest, *inserted]) if inserted else parted.newest
    instants = [row[RECORDED_AT] for row in inserted] + ([parted.oldest] if parted.oldest else [])
    return Stored(
        new=[*parted.fresh, *inserted] if inserted else parted.fresh,
        oldest=min(instants, default=None),
        written=TypeWriteResult(newest, same, [_conflict(row) for row in different]),
    )


def _conflict(row: Row) -> RejectedRow:
    return RejectedRow(
        row,
        Reason.CONFLICTING_READING,
        f"{row[DEVICE]} has another reading stored for {row[RECORDED_AT].isoformat()}; the first is kept",
    )


async def _copy(connection: Connection, telemetry_type: TelemetryType, rows: list[Row]) -> None:
    if rows:
        await connection.copy_to_table(
            telemetry_type.history,
            source=encode_copy(rows),
            format="binary",
            columns=telemetry_type.columns,
            timeout=COPY_TIMEOUT,
        )


async def _insert_doubtful(
    connection: Connection, telemetry_type: TelemetryType, rows: list[Row]
) -> tuple[list[Row], list[Row], list[Row]]:
    """Rows that may be stored already: those inserted, those that say the same as what is stored, those that contradict it."""
    if not rows:
        return [], [], []
    unclaimed = {
        (row[0], row[1]) async for row in telemetry_type.insert_new(connection, **telemetry_type.columnar(rows))
    }
    inserted: list[Row] = []
    present: list[Row] = []
    for row in rows:  # of several copies the first is the one that was inserted
        identity = row[DEVICE], row[RECORDED_AT]
        if identity in unclaimed:
            unclaimed.remove(identity)
            inserted.append(row)
        else:
            present.append(row)
    if not present:
        return inserted, [], []
    matches = [row["same"] async for row in telemetry_type.match(connection, **telemetry_type.columnar(present))]
    if None in matches:
        raise RuntimeError("a stored reading has disappeared while its copy was compared with it")
    same = [row for row, match in zip(present, matches, strict=True) if match]
    different = [row for row, match in zip(present, matches, strict=True) if not match]
    return inserted, same, different


def _newest_of_each_device(rows: list[Row]) -> list[Row]:
    newest: dict[str, Row] = {}
    for row in rows:
        known = newest.get(row[DEVICE])
        if known is None or row[RECORDED_AT] > known[RECORDED_AT]:
            newest[row[DEVICE]] = row
    return [newest[device] for device in sorted(newest)]  # one order for every writer: two never wait in a circle
