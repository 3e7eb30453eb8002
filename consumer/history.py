"""Rows -> history and live status, inside the store's transaction; and what became of each.

newer than anything stored of its device -> COPY; maybe stored already -> INSERT ... ON CONFLICT DO NOTHING, and the rest compared
"""

from dataclasses import dataclass, field
from datetime import datetime
from operator import itemgetter
from typing import Any, Final

from consumer.batch import Batch, DeadLetter
from consumer.known import NewestReadings
from consumer.late import late_hours
from consumer.telemetry import DEVICE, POSITION, RECORDED_AT, Row, Telemetry
from schemas.readings import Reason
from sql.queries import queries

Connection = Any  # asyncpg.Connection, or the pool's proxy of one
COPY_TIMEOUT: Final = 120.0


@dataclass(frozen=True, slots=True)
class Written:
    """The newest row written of each device, the rows that were stored already, and those that contradict a stored reading."""

    newest: dict[Telemetry, list[Row]] = field(default_factory=dict)
    duplicates: list[Row] = field(default_factory=list)
    conflicts: list[DeadLetter] = field(default_factory=list)


async def write_rows(
    connection: Connection, batch: Batch, known: NewestReadings, late_before: datetime, *, cautious: bool
) -> Written:
    """Write a batch's rows; `cautious` looks at every row as one that may be stored already.

    Hours that rows older than `late_before` have changed are marked for the rollups.

    Raises:
        asyncpg.UniqueViolationError: a row believed new is stored already; only when not cautious.
    """
    written = Written()
    for telemetry, rows in batch.rows.items():
        fresh, doubtful = ([], rows) if cautious else await known.split(connection, telemetry, rows)
        await _copy(connection, telemetry, fresh)
        inserted, same, different = await _insert_doubtful(connection, telemetry, doubtful)
        written.duplicates.extend(same)
        written.conflicts.extend(_conflict(batch, row) for row in different)
        newest = written.newest[telemetry] = _newest_of_each_device(fresh, inserted)
        if newest:
            await telemetry.upsert_status(connection, **telemetry.columnar(newest))
        await _mark_late(connection, telemetry, [*fresh, *inserted], late_before)
    return written


async def _mark_late(connection: Connection, telemetry: Telemetry, rows: list[Row], late_before: datetime) -> None:
    if changed := late_hours(rows, late_before):
        devices, hours = zip(*changed, strict=True)
        await queries.mark_late(connection, side=telemetry.name, devices=devices, hours=hours)


def _conflict(batch: Batch, row: Row) -> DeadLetter:
    return DeadLetter(
        batch.records[row[POSITION]],
        Reason.CONFLICTING_READING,
        f"{row[DEVICE]} has another reading stored for {row[RECORDED_AT].isoformat()}; the first is kept",
    )


async def _copy(connection: Connection, telemetry: Telemetry, rows: list[Row]) -> None:
    if not rows:
        return
    columns = itemgetter(*(index for index in range(len(rows[0])) if index != POSITION))
    await connection.copy_records_to_table(
        telemetry.history, records=map(columns, rows), columns=telemetry.columns, timeout=COPY_TIMEOUT
    )


async def _insert_doubtful(
    connection: Connection, telemetry: Telemetry, rows: list[Row]
) -> tuple[list[Row], list[Row], list[Row]]:
    """Rows that may be stored already: those inserted, those that say the same as what is stored, those that contradict it."""
    if not rows:
        return [], [], []
    unclaimed = {(row[0], row[1]) async for row in telemetry.insert_new(connection, **telemetry.columnar(rows))}
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
    matches = [row["same"] async for row in telemetry.match(connection, **telemetry.columnar(present))]
    if None in matches:
        raise RuntimeError("a stored reading has disappeared while its copy was compared with it")
    same = [row for row, match in zip(present, matches, strict=True) if match]
    different = [row for row, match in zip(present, matches, strict=True) if not match]
    return inserted, same, different


def _newest_of_each_device(*sorted_rows: list[Row]) -> list[Row]:
    newest: dict[str, Row] = {}
    for rows in sorted_rows:
        for row in rows:
            known = newest.get(row[DEVICE])
            if known is None or row[RECORDED_AT] > known[RECORDED_AT]:
                newest[row[DEVICE]] = row
    return sorted(newest.values())  # one order for every writer, so that two never wait for each other in a circle
