"""Rows -> history and live status, inside the store's transaction; and what became of each.

newer than anything stored of its device -> COPY; maybe stored already -> INSERT ... ON CONFLICT DO NOTHING, and the rest compared
"""

from collections.abc import Callable
from operator import itemgetter
from typing import Any, Final

from consumer.kind import DEVICE, POSITION, RECORDED_AT, RefusedRow, Row, Written
from consumer.late import late_hours
from consumer.telemetry import Telemetry
from consumer.writing import Connection, Terms
from schemas.readings import Reason
from sql.queries import queries

COPY_TIMEOUT: Final = 120.0


async def write_readings(
    connection: Connection,
    telemetry: Telemetry,
    rows: list[Row],
    terms: Terms,
    *,
    side: str,
    upsert_status: Callable[..., Any],
) -> Written:
    """Write sorted readings into history and live status, and mark the hours that late ones change.

    Raises:
        asyncpg.UniqueViolationError: a row believed new is stored already; only when not cautious.
    """
    new, written = await store_readings(connection, telemetry, rows, terms)
    if written.newest:
        await upsert_status(connection, **telemetry.columnar(written.newest))
    if changed := late_hours(new, terms.late_before):
        devices, hours = zip(*changed, strict=True)
        await queries.mark_late(connection, side=side, devices=devices, hours=hours)
    return written


async def store_readings(
    connection: Connection, telemetry: Telemetry, rows: list[Row], terms: Terms
) -> tuple[list[Row], Written]:
    """Put sorted readings into their history; the new ones, and what became of all.

    Raises:
        asyncpg.UniqueViolationError: as above.
    """
    fresh, doubtful = ([], rows) if terms.cautious else await terms.known.split(connection, telemetry, rows)
    await _copy(connection, telemetry, fresh)
    inserted, same, different = await _insert_doubtful(connection, telemetry, doubtful)
    written = Written(_newest_of_each_device(fresh, inserted), same, [_conflict(row) for row in different])
    return [*fresh, *inserted], written


def _conflict(row: Row) -> RefusedRow:
    return RefusedRow(
        row,
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
