"""One portion of devices: copied in one transaction of the target, and deleted in one of the source.

snapshot of the source -> folded days as they are, all else as readings -> compare -> COMMIT target -> COMMIT source -> forget

The target commits first. What is interrupted between the two is copied again by the next run, which finds all of it stored
already, and deletes it. A reading that the source gets after the snapshot is not deleted: the next pass takes it.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Final

from sql.cells.devices import Devices
from sql.cells.histories import ARRIVING, History
from sql.partitions import wait_for_writers
from sql.queries import queries

COPY_TIMEOUT_SECONDS: Final = 3600.0
FINGERPRINTS: Final = 2**64
# Moved with their vehicle or meter, in this order: an assignment must not be taken for a repetition of its declaration.
STATE: Final = (
    ("meter_live_status", "meter_id"),
    ("vehicle_live_status", "vehicle_id"),
    ("vehicle_efficiency", "vehicle_id"),
    ("vehicle_trends", "vehicle_id"),
    ("efficiency_faults", "vehicle_id"),
    ("vehicle_meter_assignments", "vehicle_id"),
    ("assignment_declarations", "vehicle_id"),
)
DeviceDay = tuple[str, date]


class MoveError(Exception):
    """A portion cannot be moved; nothing of it was changed in the source."""


class DayIsFoldingError(MoveError):
    """A day of the source is being folded; the portion can be moved a moment later."""


@dataclass(slots=True)
class Contents:
    """What the source had of some devices: number, energy (of registers: their sum) and fingerprint of readings."""

    readings: int = 0
    recorded: int = 0
    energy_mwh: int = 0
    fingerprint: int = 0

    def add(self, row: Any) -> None:
        self.readings += row["readings"]
        self.recorded += row["recorded"]
        self.energy_mwh += int(row["energy_mwh"])
        self.fingerprint = (self.fingerprint + int(row["fingerprint"])) % FINGERPRINTS


@dataclass(slots=True)
class Moved:
    """By history: what the source had, and how many of its readings are new to the target."""

    contents: dict[str, Contents] = field(default_factory=dict)
    new: int = 0

    def add(self, other: "Moved") -> None:
        for name, contents in other.contents.items():
            mine = self.contents.setdefault(name, Contents())
            mine.readings += contents.readings
            mine.energy_mwh += contents.energy_mwh
            mine.fingerprint = (mine.fingerprint + contents.fingerprint) % FINGERPRINTS
        self.new += other.new


@dataclass(frozen=True, slots=True)
class Days:
    """Folded days of the source: those that are equal in both, those that the target gets as they are, and all other ones."""

    equal: dict[DeviceDay, Any]
    copied: dict[DeviceDay, Any]
    as_readings: list[DeviceDay]


@dataclass(frozen=True, slots=True)
class Cells:
    """Connections of the schema's owner to both databases, and what they have in common."""

    source: Any
    target: Any
    histories: Sequence[History]
    jitter_kwh: float
    discard_conflicts: bool = False


async def copy_folded_days(cells: Cells, devices: Devices) -> int:
    """Copies the folded days that the target lacks, and deletes nothing; returns the number of readings."""
    copied = 0
    async with cells.source.transaction(isolation="repeatable_read"), cells.target.transaction():
        await queries.lock_merging(cells.target)
        for history in cells.histories:
            ids = devices.of(history.device)
            days = await _compare_days(cells, history, ids, await _unknown(cells, history, ids))
            await _copy_days(cells, history, days)
            copied += sum(row["readings"] for row in days.copied.values())
    return copied


async def move_portion(cells: Cells, devices: Devices) -> Moved:
    """Moves the readings of some devices, and copies all else that is stored of them; `forget` must follow.

    Raises:
        DayIsFoldingError: a day of the source is being folded.
        MoveError: the target has other readings of the same identity, or does not store what it was given.
    """
    try:
        await queries.keep_watermarks(cells.source)
        if (await queries.watermarks(cells.source))["is_folding"]:
            raise DayIsFoldingError("a day of the source is being folded")
        return await _move(cells, devices)
    finally:
        await queries.release_watermarks(cells.source)


async def _move(cells: Cells, devices: Devices) -> Moved:
    moved = Moved()
    # The second one commits first.
    async with cells.source.transaction(isolation="repeatable_read"), cells.target.transaction():
        await queries.lock_merging(cells.target)
        await queries.hold_watermarks(cells.target)
        for history in cells.histories:
            contents = moved.contents[history.rows] = Contents()
            moved.new += await _move_history(cells, history, devices.of(history.device), contents)
        await _copy_state(cells, devices)
        for history in cells.histories:
            for statement in history.deletions():
                await cells.source.execute(statement, devices.of(history.device))
    return moved


async def forget(cells: Cells, devices: Devices) -> None:
    """Deletes what the source has derived from the readings of devices, except of those that have got a reading meanwhile."""
    left: dict[str, set[str]] = {"vehicle_id": set(), "meter_id": set()}
    async with cells.source.transaction():
        await wait_for_writers(cells.source)
        await queries.lock_assignments(cells.source)
        for history in cells.histories:
            rows = await cells.source.fetch(history.left(), devices.of(history.device))
            left[history.device] |= {row["device"] for row in rows}
        await queries.forget_vehicles(
            cells.source, vehicle_ids=[each for each in devices.vehicles if each not in left["vehicle_id"]]
        )
        await queries.forget_meters(
            cells.source, meter_ids=[each for each in devices.meters if each not in left["meter_id"]]
        )


async def _move_history(cells: Cells, history: History, ids: list[str], contents: Contents) -> int:
    """Copies the readings of one kind; returns how many of them are new to the target."""
    unknown = await _unknown(cells, history, ids)
    days = await _compare_days(cells, history, ids, unknown)
    await _copy_days(cells, history, days)
    for row in (*days.equal.values(), *days.copied.values()):
        contents.add(row)
    readings, new = await _copy_readings(cells, history, ids, days.as_readings)
    if not history.side and (new or days.copied):
        await _derive_intervals(cells, history, [each for each in ids if each not in unknown])
    await cells.target.execute(f"DROP TABLE {ARRIVING}")
    contents.add(readings)
    await queries.record_moved(cells.source, history=history.rows, readings=-contents.recorded)
    return new + sum(int(row["recorded"]) for row in days.copied.values())


async def _unknown(cells: Cells, history: History, ids: list[str]) -> set[str]:
    """The devices of which the target has nothing but days that were copied ahead."""
    return {row["device"] for row in await cells.target.fetch(history.unknown(), ids)}


async def _compare_days(cells: Cells, history: History, ids: list[str], unknown: set[str]) -> Days:
    first = (await queries.watermarks(cells.source))["first_day"]
    split = min(first, (await queries.watermarks(cells.target))["first_day"])
    here = await _days(cells.source, history, ids, first)
    there = await _days(cells.target, history, ids, split)
    late_here, late_there = await _late_days(cells.source, history, ids), await _late_days(cells.target, history, ids)
    whole = {day: row for day, row in here.items() if day[1] < split and day not in late_here}
    equal = {day: row for day, row in whole.items() if day in there and _is_same(row, there[day])}
    await _drop_days(
        cells, history, {day: there.pop(day) for day in [*there] if day[0] in unknown and day not in equal}
    )
    copied = {day: row for day, row in whole.items() if day not in there and day not in late_there}
    late = {day for day in late_here if day[1] < first}
    return Days(equal, copied, sorted((set(here) | late) - set(equal) - set(copied)))


async def _days(connection: Any, history: History, ids: list[str], before: date) -> dict[DeviceDay, Any]:
    rows = await connection.fetch(history.day_rows(), ids, before, timeout=COPY_TIMEOUT_SECONDS)
    return {(row["device"], row["day"]): row for row in rows}


async def _late_days(connection: Any, history: History, ids: list[str]) -> set[DeviceDay]:
    return {(row["device"], row["day"]) for row in await connection.fetch(history.late_days(), ids)}


def _is_same(one: Any, other: Any) -> bool:
    return bool(one["fingerprint"] == other["fingerprint"] and one["readings"] == other["readings"])


async def _drop_days(cells: Cells, history: History, changed: dict[DeviceDay, Any]) -> None:
    """Deletes days that were copied ahead, and that late readings have changed in the source since."""
    if changed:
        devices, dates = map(list, zip(*changed, strict=True))
        await cells.target.execute(history.drop_days(), devices, dates)
        readings = sum(row["recorded"] for row in changed.values())
        await queries.record_moved(cells.target, history=history.rows, readings=-readings)


async def _copy_days(cells: Cells, history: History, days: Days) -> None:
    if not days.copied:
        return
    devices, dates = map(list, zip(*days.copied, strict=True))
    await _copy(cells, history.wanted_days(), (devices, dates), history.days, history.day_columns)
    stored = await _days(cells.target, history, sorted(set(devices)), max(dates) + timedelta(days=1))
    if wrong := [day for day, row in days.copied.items() if day not in stored or not _is_same(row, stored[day])]:
        raise MoveError(f"{history.days}: {wrong[0][0]} of {wrong[0][1]} differs after it was copied")
    await queries.record_moved(
        cells.target, history=history.rows, readings=sum(row["recorded"] for row in days.copied.values())
    )


async def _copy_readings(cells: Cells, history: History, ids: list[str], days: Sequence[DeviceDay]) -> tuple[Any, int]:
    """Copies readings that are not in folded days of both; returns their sums, and how many are new to the target."""
    here, there = await queries.watermarks(cells.source), await queries.watermarks(cells.target)
    wanted = ids, here["folded_before"], here["first_day"], [day[0] for day in days], [day[1] for day in days]
    await cells.target.execute(
        f"CREATE TEMPORARY TABLE {ARRIVING} AS SELECT {history.listed} FROM {history.rows} LIMIT 0"  # noqa: S608
    )
    await _copy(cells, history.readings(), wanted, ARRIVING, history.columns)
    sent = await cells.source.fetchrow(history.sums(history.readings()), *wanted, timeout=COPY_TIMEOUT_SECONDS)
    got = await cells.target.fetchrow(history.sums(f"SELECT * FROM {ARRIVING}"))  # noqa: S608
    if sent != got:
        raise MoveError(f"{history.rows}: {dict(sent)} was sent, and {dict(got)} has arrived")
    new = await cells.target.fetchval(history.insert_rows(), there["folding_before"])
    new += await cells.target.fetchval(history.insert_late(), there["folding_before"])
    await _require_stored(cells, history)
    if history.side:
        await cells.target.execute(history.mark_late(), history.side, there["folding_before"], there["late_before"])
    await queries.record_moved(cells.target, history=history.rows, readings=new)
    return sent, new


async def _require_stored(cells: Cells, history: History) -> None:
    different = await cells.target.fetch(history.differences(), timeout=COPY_TIMEOUT_SECONDS)
    if not different or (cells.discard_conflicts and all(row["is_other"] for row in different)):
        return
    first = different[0]
    what = "has another reading" if first["is_other"] else "does not store the reading"
    raise MoveError(
        f"{history.rows}: the target {what} of {first['device']} at {first['recorded_at'].isoformat()} "
        f"({len(different):,} in all); compare them, and keep the target's with --discard-conflicts"
    )


async def _derive_intervals(cells: Cells, history: History, ids: list[str]) -> None:
    """Derives the intervals of meters of which the target had readings before, because registers may have come to both cells."""
    if spans := await cells.target.fetch(history.spans(), ids):
        await queries.derive_intervals(
            cells.target,
            ids=[row["device"] for row in spans],
            earliest=[row["earliest"] for row in spans],
            latest=[row["latest"] for row in spans],
            jitter=cells.jitter_kwh,
        )


async def _copy_state(cells: Cells, devices: Devices) -> None:
    """Copies live status, evaluations, trends, faults and assignments of devices."""
    await queries.lock_assignments(cells.target)
    for table, column in STATE:
        columns = [row["name"] async for row in queries.state_columns(cells.source, table=table)]
        order = ", declaration_id AS declaration_order" if table == "assignment_declarations" else ""
        listed = ", ".join(columns) + order
        await cells.target.execute(
            f"CREATE TEMPORARY TABLE arriving_{table} ON COMMIT DROP AS SELECT {listed} FROM {table} LIMIT 0"  # noqa: S608
        )
        arriving = [*columns, "declaration_order"] if order else columns
        select = f"SELECT {listed} FROM {table} WHERE {column} = ANY($1::text[])"  # noqa: S608
        await _copy(cells, select, (devices.of(column),), f"arriving_{table}", arriving)
    await queries.take_meter_status(cells.target)
    await queries.take_vehicle_status(cells.target)
    await queries.take_evaluations(cells.target)
    await queries.take_trends(cells.target)
    if lost := (await queries.take_faults(cells.target))["lost"]:
        raise MoveError(f"{lost} faults have the id of a fault of another vehicle in the target")
    await _take_assignments(cells)
    await queries.take_declarations(cells.target)


async def _take_assignments(cells: Cells) -> None:
    other = [row async for row in queries.take_assignments(cells.target)]
    if not other:
        return
    outcomes = queries.declare_assignments(
        cells.target,
        vehicle_ids=[row["vehicle_id"] for row in other],
        meter_ids=[row["meter_id"] for row in other],
        starts=[row["valid_from"] for row in other],
        ends=[row["valid_to"] for row in other],
        origin="moved:",
    )
    overlaps = [row["detail"] async for row in outcomes if row["outcome"] == "overlap"]
    if overlaps:
        raise MoveError(f"an assignment overlaps one of the target: {overlaps[0]} ({len(overlaps)} in all)")


async def _copy(cells: Cells, select: str, arguments: Sequence[Any], table: str, columns: Sequence[str]) -> None:
    """Copies what a statement selects in the source into a table of the target. As text: types have other numbers there."""
    with tempfile.TemporaryFile() as file:
        await cells.source.copy_from_query(select, *arguments, output=file, timeout=COPY_TIMEOUT_SECONDS)
        file.seek(0)
        await cells.target.copy_to_table(table, source=file, columns=columns, timeout=COPY_TIMEOUT_SECONDS)
